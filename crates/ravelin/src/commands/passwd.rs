//! `ravelin passwd`: sets, checks and deletes passwords in a password file.

use anyhow::{Context, bail};
use ravelin_protect::password::{DeleteOutcome, Edit};
use ravelin_protect::totp::Totp;
use ravelin_protect::{NodeSecret, PasswordFile, Secret};
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// Set, check or delete a password in a password file.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin passwd plant/passwords meter-7 < password.txt      set it to what is read
  ravelin passwd plant/passwords meter-7 --random            make one up and print it
  ravelin passwd plant/passwords meter-7 --verify < password.txt
  ravelin passwd plant/passwords meter-7 --totp              make a secret of one-time codes and print its URI
  ravelin passwd plant/passwords meter-7 --delete

A password is never taken from the command line, where other users of the machine can read it.
Files of mosquitto_passwd are read and kept; what is set is hashed with argon2id, and for SCRAM-SHA-256 and
SCRAM-SHA-512. A secret of one-time codes cannot be hashed: it stands in the file, which must be private.")]
pub struct Args {
    /// The password file; it is created if there is none.
    file: PathBuf,
    /// The user.
    user: String,
    /// Make up a password and print it.
    #[arg(long, conflicts_with_all = ["verify", "delete"])]
    random: bool,
    /// Only check the password; the exit status says whether it is right.
    #[arg(long, conflicts_with = "delete")]
    verify: bool,
    /// Make a secret of one-time codes (TOTP) and print the otpauth URI for an authenticator; the password stays.
    #[arg(long, conflicts_with_all = ["random", "verify", "delete"])]
    totp: bool,
    /// Delete the user.
    #[arg(long)]
    delete: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.verify {
        let file = PasswordFile::load(&args.file)?;
        let right = file.job(&args.user, read_password()?, &NodeSecret::generate()?).run().is_ok();
        println!("{}", if right { "right" } else { "wrong" });
        return Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut edit = Edit::open(&args.file)?;
    if args.delete {
        if edit.delete(&args.user) == DeleteOutcome::NoSuchUser {
            bail!("{} has no user {:?}", args.file.display(), args.user);
        }
        edit.save()?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.totp {
        let totp = Totp::create()?;
        edit.set_totp(&args.user, &totp)?;
        edit.save()?;
        println!("{}", *totp.uri("Ravelin", &args.user));
        return Ok(ExitCode::SUCCESS);
    }
    let password = if args.random { crate::deployment::random_password()? } else { read_password()? };
    let scram = edit.set(&args.user, &password)?;
    edit.save()?;
    if args.random {
        println!("{}", String::from_utf8_lossy(password.expose()));
    }
    if !scram {
        eprintln!("note: not for SCRAM, which takes printable ASCII only");
    }
    Ok(ExitCode::SUCCESS)
}

/// The first line of standard input.
pub fn read_password() -> anyhow::Result<Secret> {
    if std::io::stdin().is_terminal() {
        eprintln!("Password (it will be visible), then Enter and Ctrl-D:");
    }
    let mut bytes = Vec::with_capacity(4096);
    std::io::stdin().lock().take(4096).read_to_end(&mut bytes).context("failed to read the password")?;
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
    if end == 0 {
        bail!("the password is empty");
    }
    let whole = Secret::new(bytes);
    Ok(Secret::new(&whole.expose()[..end]))
}
