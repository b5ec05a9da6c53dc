//! The Beta distribution: how sure a share is that was estimated from so much evidence.

/// The value below which a Beta(a, b) variable lies with probability `p`; a and b above 0, `p` from 0 to 1.
///
/// Bisection on the regularised incomplete beta function: slow (some microseconds) and sure.
pub fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if incomplete_beta(a, b, middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// I_x(a, b), by the continued fraction of Numerical Recipes 6.4 (modified Lentz).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut result = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for step in [even, odd] {
            d = 1.0 / away(1.0 + step * d);
            c = away(1.0 + step / c);
            result *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    result
}

/// ln(gamma(x)) for x above 0, by Lanczos' series (g = 7, n = 9).
fn ln_gamma(x: f64) -> f64 {
    const SERIES: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum = SERIES[0] + (1..9).map(|i| SERIES[i] / (x + i as f64)).sum::<f64>();
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed forms: Beta(1, 1) is uniform, Beta(a, 1) has p^(1/a), Beta(1, b) has 1 - (1-p)^(1/b), Beta(1/2, 1/2) is the
    /// arcsine law, Beta(2, 2) has 3x^2 - 2x^3.
    #[test]
    fn quantiles_are_those_that_are_known_exactly() {
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-9, "{got}, not {want}");
        for p in [0.01, 0.05, 0.5, 0.95, 0.999] {
            near(beta_quantile(1.0, 1.0, p), p);
            near(beta_quantile(7.0, 1.0, p), f64::powf(p, 1.0 / 7.0));
            near(beta_quantile(1.0, 52.0, p), 1.0 - f64::powf(1.0 - p, 1.0 / 52.0));
            near(beta_quantile(0.5, 0.5, p), (p * std::f64::consts::FRAC_PI_2).sin().powi(2));
            let x = beta_quantile(2.0, 2.0, p);
            near(3.0 * x * x - 2.0 * x * x * x, p);
        }
    }

    /// Others have no closed form: the integral of the density up to the quantile, by Simpson's rule, must be the probability.
    #[test]
    fn quantiles_give_their_probability_back() {
        for (a, b) in [(3.0, 5.0), (51.8, 2.2), (1.8, 30.2), (20.0, 20.0)] {
            let x = beta_quantile(a, b, 0.05);
            let density = |t: f64| {
                (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp()
                    * t.powf(a - 1.0)
                    * (1.0 - t).powf(b - 1.0)
            };
            let steps = 20_000;
            let width = x / f64::from(steps);
            let weight = |i: i32| {
                if i == 0 || i == steps {
                    1.0
                } else if i % 2 == 1 {
                    4.0
                } else {
                    2.0
                }
            };
            let sum: f64 = (0..=steps).map(|i| weight(i) * density(f64::from(i) * width)).sum();
            assert!((sum * width / 3.0 - 0.05).abs() < 1e-4, "{a} {b}: {}", sum * width / 3.0);
        }
    }
}
