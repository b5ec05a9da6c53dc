//! `[[jwt]]`: an identity provider whose tokens are accepted.

use super::read::Table;
use crate::fetch;
use ravelin_protect::jwt::{Algorithm, ClaimNames, IssuerSettings};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is accepted where the configuration does not say: one algorithm for each type of key.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

/// An identity provider whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// What is demanded of a token.
    pub settings: IssuerSettings,
    /// Its keys, in a file.
    pub jwks_file: Option<PathBuf>,
    /// The CAs (PEM) that vouch for the server of the keys' address; `None`: those that the system trusts.
    pub jwks_ca: Option<PathBuf>,
    /// How often keys are fetched from their address.
    pub refresh: Duration,
}

/// Reads one provider; `None` if it lacks what nothing can stand in for.
pub(super) fn read(table: &mut Table<'_, '_>, base: &Path) -> Option<JwtConfig> {
    let path = table.path.clone();
    let key = |name: &str| format!("{path}.{name}");
    let issuer = table.take::<String>("issuer");
    let audience = table.take::<Vec<String>>("audience");
    let jwks_file = table.take::<String>("jwks_file");
    let jwks_url = table.take::<String>("jwks_url");
    let jwks_ca = table.take::<String>("jwks_ca");
    let algorithms = algorithms(table);
    let minute = Duration::from_secs(60);
    let day = 1440 * minute;
    let leeway = table.take_between("leeway", Duration::ZERO, 5 * minute);
    let lifetime_max = table.take_between("lifetime_max", minute, 366 * day);
    let refresh = table.take_between("refresh", minute, day);
    let keep = table.take_between("keep", minute, 30 * day);
    let claims = claims(table);

    let missing = |what: &str| what.is_empty();
    if issuer.as_deref().is_none_or(missing) {
        let help = "write `issuer = \"https://id.example\"`, exactly as the tokens have it in `iss`";
        table.reader.error_at(&key("issuer"), "`issuer` is missing: whose tokens are accepted".into(), help);
    }
    if audience.as_ref().is_none_or(|list| list.is_empty() || list.iter().any(|one| one.is_empty())) {
        let what = "`audience` is missing: a token for any other service would be accepted here".into();
        table.reader.error_at(
            &key("audience"),
            what,
            "write `audience = [\"ravelin\"]`, as the tokens have it in `aud`",
        );
    }
    check_place(table, &jwks_file, &jwks_url);
    if jwks_url.is_none() {
        let written =
            [("jwks_ca", jwks_ca.is_some()), ("refresh", refresh.is_some()), ("keep", keep.is_some())];
        for (name, _) in written.into_iter().filter(|(_, written)| *written) {
            let what = format!("`{name}` has no effect: the keys are not fetched from an address");
            table.reader.error_at(&key(name), what, "use `jwks_url`, or delete the key");
        }
    }
    let (refresh, keep) = (refresh.unwrap_or(10 * minute), keep.unwrap_or(day));
    if keep < refresh {
        let what =
            "`keep` is shorter than `refresh`: keys would be too old before they are fetched again".into();
        table.reader.error_at(&key("keep"), what, "make `keep` several times as long as `refresh`");
    }
    Some(JwtConfig {
        settings: IssuerSettings {
            issuer: issuer?,
            audience: audience?,
            algorithms,
            leeway_s: leeway.unwrap_or(minute / 2).as_secs(),
            lifetime_max_s: lifetime_max.unwrap_or(day).as_secs(),
            keys_url: jwks_url,
            keys_age_max_s: keep.as_secs(),
            claims,
        },
        jwks_file: jwks_file.map(|path| base.join(path)),
        jwks_ca: jwks_ca.map(|path| base.join(path)),
        refresh,
    })
}

fn algorithms(table: &mut Table<'_, '_>) -> Vec<Algorithm> {
    let Some(names) = table.take::<Vec<String>>("algorithms") else { return ALGORITHMS.into() };
    let key = format!("{}.algorithms", table.path);
    let mut algorithms = Vec::new();
    for name in &names {
        match Algorithm::from_name(name) {
            Some(algorithm) => algorithms.push(algorithm),
            None => {
                let what = format!("`{}` is not an algorithm that can be accepted", name.escape_debug());
                let help = match name.to_ascii_lowercase().as_str() {
                    "none" => "a token that nobody signed proves nothing".to_string(),
                    name if name.starts_with("hs") => {
                        "a shared secret lets every service that checks tokens make them; use ES256"
                            .to_string()
                    }
                    _ => format!("it is one of {}", Algorithm::ALL.map(Algorithm::name).join(", ")),
                };
                table.reader.error_at(&key, what, &help);
            }
        }
    }
    if names.is_empty() {
        table.reader.error_at(&key, "no algorithm is accepted, so no token is".into(), "delete the key");
    }
    algorithms
}

fn claims(table: &mut Table<'_, '_>) -> ClaimNames {
    let identity = table.take::<String>("identity_claim").unwrap_or_else(|| "sub".into());
    ClaimNames {
        identity,
        client_id: table.take::<String>("client_id_claim"),
        class: table.take::<String>("class_claim"),
        groups: table.take::<String>("groups_claim"),
        roles: table.take::<String>("roles_claim"),
    }
}

/// One place where the keys are, and a safe one.
fn check_place(table: &mut Table<'_, '_>, file: &Option<String>, url: &Option<String>) {
    let key = |name: &str| format!("{}.{name}", table.path);
    let (at_issuer, at_url) = (key("issuer"), key("jwks_url"));
    match (file, url) {
        (None, None) => {
            let what = "`jwks_file` or `jwks_url` is missing: the keys of the provider".into();
            table.reader.error_at(&at_issuer, what, "write `jwks_url = \"https://id.example/jwks.json\"`");
        }
        (Some(_), Some(_)) => {
            let what = "`jwks_url` and `jwks_file` cannot both be where the keys are".into();
            table.reader.error_at(&at_url, what, "delete one of the two keys");
        }
        (None, Some(url)) => check_url(table, &at_url, url),
        (Some(_), None) => {}
    }
}

/// Whoever is on the way of an address without TLS chooses the keys, and with them who everyone is.
fn check_url(table: &mut Table<'_, '_>, key: &str, url: &str) {
    if let Err(error) = fetch::check_url(url) {
        return table.reader.error_at(
            key,
            error.to_string(),
            "write `jwks_url = \"https://id.example/jwks.json\"`",
        );
    }
    let loopback = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
    let local =
        loopback.iter().any(|start| url.strip_prefix(start).is_some_and(|rest| rest.starts_with([':', '/'])));
    if !url.starts_with("https://") && !local {
        let what = "`jwks_url` is not encrypted: whoever is on the way could choose the keys".to_string();
        table.reader.error_at(key, what, "use https, or `jwks_file`");
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use ravelin_protect::{NodeSecret, SecondFactor};
    use std::path::Path;
    use std::time::Duration;

    const LISTENER: &str = "[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:1883\"\nauthentication = [\"jwt\"]\n\
                            [access]\nrules_file = \"r\"\n";
    const GOOD: &str = "issuer = \"https://id\"\naudience = [\"ravelin\"]\njwks_url = \"https://id/jwks\"\n";

    fn parse(jwt: &str) -> Result<Config, String> {
        let text = format!("{LISTENER}[[jwt]]\n{jwt}");
        Config::parse(&text, Path::new("/etc/ravelin")).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_provider_is_read_with_its_defaults() {
        let config = parse(GOOD).unwrap();
        let provider = &config.jwt[0];
        assert_eq!((provider.refresh, provider.settings.keys_age_max_s), (Duration::from_secs(600), 86_400));
        assert_eq!((provider.settings.leeway_s, provider.settings.lifetime_max_s), (30, 86_400));
        assert_eq!(provider.settings.claims.identity, "sub");
        assert_eq!(provider.settings.algorithms, super::ALGORITHMS);
        assert!(config.listeners[0].policy.methods.jwt && !config.listeners[0].policy.methods.password);
        let file = "issuer = \"a\"\naudience = [\"b\"]\njwks_file = \"keys.json\"\nalgorithms = [\"PS256\"]\n\
                    identity_claim = \"device\"\nclient_id_claim = \"c\"\n";
        let provider = &parse(file).unwrap().jwt[0];
        assert_eq!(provider.jwks_file.as_deref(), Some(Path::new("/etc/ravelin/keys.json")));
        assert_eq!(provider.settings.claims.client_id.as_deref(), Some("c"));
    }

    #[test]
    fn what_would_let_strangers_in_is_refused() {
        let plain = GOOD.replace("https://id/jwks", "http://id/jwks");
        for (jwt, what) in [
            (GOOD.replace("issuer = \"https://id\"\n", ""), "whose tokens are accepted"),
            (GOOD.replace("[\"ravelin\"]", "[]"), "a token for any other service"),
            (GOOD.replace("audience = [\"ravelin\"]\n", ""), "a token for any other service"),
            (GOOD.replace("jwks_url = \"https://id/jwks\"\n", ""), "the keys of the provider"),
            (format!("{GOOD}jwks_file = \"x\"\n"), "cannot both"),
            (plain, "could choose the keys"),
            (GOOD.replace("https://id/jwks", "http://127.0.0.1.evil.example/jwks"), "could choose the keys"),
            (GOOD.replace("https://id/jwks", "file:///etc/passwd"), "URL of http"),
            (format!("{GOOD}algorithms = [\"none\"]\n"), "a token that nobody signed"),
            (format!("{GOOD}algorithms = [\"ES256\", \"HS256\"]\n"), "a shared secret"),
            (format!("{GOOD}algorithms = []\n"), "no algorithm is accepted"),
            (format!("{GOOD}keep = \"2m\"\n"), "shorter than"),
            (format!("{GOOD}leeway = \"1h\"\n"), "not within"),
            (format!("{GOOD}[[jwt]]\n{GOOD}"), "the same `issuer`"),
        ] {
            let found = parse(&jwt).err().unwrap_or_else(|| panic!("accepted: {jwt}"));
            assert!(found.contains(what), "{jwt}: {found}");
        }
        assert!(parse(&GOOD.replace("https://id/jwks", "http://127.0.0.1:8080/jwks")).is_ok());
        let none = Config::parse(LISTENER, Path::new("")).err().unwrap().to_string();
        assert!(none.contains("takes tokens, but nobody's are accepted"), "{none}");
    }

    #[test]
    fn keys_in_a_file_are_checked_when_they_are_loaded() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("r"), "").unwrap();
        let text = format!(
            "{LISTENER}[[jwt]]\n{}",
            GOOD.replace("jwks_url = \"https://id/jwks\"", "jwks_file = \"k\"")
        );
        let config = Config::parse(&text, dir.path()).unwrap();
        let load =
            || config.load_files(NodeSecret::new([0; 32]), 0).map(drop).map_err(|errors| errors.to_string());
        assert!(load().unwrap_err().contains("failed to read"));
        for (keys, what) in [
            ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "shared secret"),
            ("{\"keys\":[]}", "no key in it"),
            ("<html>", "not a JSON Web Key Set"),
        ] {
            std::fs::write(dir.path().join("k"), keys).unwrap();
            let error = load().unwrap_err();
            assert!(error.contains(what) || error.contains("has no key that could verify"), "{error}");
        }
        let good = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
        std::fs::write(dir.path().join("k"), good).unwrap();
        assert_eq!(load(), Ok(()));
    }

    #[test]
    fn a_second_factor_comes_beside_a_certificate() {
        let listener = |keys: &str| {
            let text = format!(
                "[[listener]]\ntransport = \"tls\"\naddress = \"0.0.0.0:8883\"\ncertificate = \"c\"\nkey = \"k\"\n{keys}\n\
                 [access]\nrules_file = \"r\"\n[authentication]\npassword_file = \"p\"\n"
            );
            Config::parse(&text, Path::new("")).map_err(|errors| errors.to_string())
        };
        let config = listener("client_ca = \"ca\"\nsecond_factor = \"totp\"").unwrap();
        assert_eq!(config.listeners[0].policy.second_factor, SecondFactor::Totp);
        let none = listener("client_certificate = \"none\"\nsecond_factor = \"totp\"").err().unwrap();
        assert!(none.contains("beside a certificate"), "{none}");
        let jwt = listener("client_ca = \"ca\"\nsecond_factor = \"jwt\"").err().unwrap();
        assert!(jwt.contains("nobody's are accepted"), "{jwt}");
        let method = listener("client_ca = \"ca\"\nauthentication = [\"totp\"]").err().unwrap();
        assert!(method.contains("second_factor = \"totp\""), "{method}");
    }
}
