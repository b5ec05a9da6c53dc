//! How likely so many events are by chance.

/// P(N >= n) for a Poisson count with this mean.
pub fn poisson_tail(mean: f64, n: u64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    if mean <= 0.0 {
        return 0.0;
    }
    // The larger part is summed where it is the smaller one, so that a small tail keeps its digits.
    if (n as f64) <= mean {
        return 1.0 - series(mean, (0..n).rev());
    }
    series(mean, n..)
}

/// The sum of probabilities of `counts`, which begin with the most likely one.
fn series(mean: f64, counts: impl Iterator<Item = u64>) -> f64 {
    let mut sum = 0.0;
    let mut term: Option<(u64, f64)> = None;
    for count in counts {
        let p = match term {
            None => (count as f64 * mean.ln() - mean - ln_factorial(count)).exp(),
            Some((last, p)) if count > last => p * mean / count as f64,
            Some((last, p)) => p * last as f64 / mean,
        };
        sum += p;
        if p < sum * 1e-15 {
            break;
        }
        term = Some((count, p));
    }
    sum
}

/// The least n with P(N >= n) <= p.
pub fn poisson_threshold(mean: f64, p: f64) -> u64 {
    let mut n = mean.ceil().max(1.0) as u64;
    let mut step = (mean.sqrt().ceil() as u64).max(1);
    while poisson_tail(mean, n) > p {
        n += step;
    }
    while step > 0 {
        while n > step && poisson_tail(mean, n - step) <= p {
            n -= step;
        }
        step /= 2;
    }
    n
}

/// ln(n!), exact sums below 32 and Stirling's series above.
fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|k| (k as f64).ln()).sum();
    }
    let x = n as f64 + 1.0;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + 1.0 / (12.0 * x)
        - 1.0 / (360.0 * x.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 1 - 1/e; and the sums of the first terms of the others.
    #[test]
    fn tails_are_those_that_are_known() {
        for (mean, n, p) in [(6.0, 20, 5.1802e-6), (1.0, 1, 0.632_120_56), (10.0, 5, 0.970_747_31)] {
            let got = poisson_tail(mean, n);
            assert!((got / p - 1.0).abs() < 1e-3, "P(N >= {n} | {mean}) = {got}, not {p}");
        }
        let half = poisson_tail(1_000.0, 1_000);
        assert!((half - 0.504_2).abs() < 1e-3, "{half}");
    }

    #[test]
    fn the_threshold_is_the_least_that_is_rare_enough() {
        for mean in [0.1, 1.0, 6.0, 60.0, 600.0, 6_000.0] {
            for p in [1e-3, 1e-6, 1e-9] {
                let n = poisson_threshold(mean, p);
                assert!(poisson_tail(mean, n) <= p && poisson_tail(mean, n - 1) > p, "{mean} {p} {n}");
            }
        }
    }
}
