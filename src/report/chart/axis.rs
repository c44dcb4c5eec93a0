//! Numbers along an axis: where its marks are, and how they are written.

/// Round numbers from 0 to at least `most`, two to seven of them: steps of 1, 2 or 5 and zeros.
pub fn round_steps(most: u64) -> Vec<u64> {
    let least_step = most.div_ceil(6).max(1);
    let power = 10_u64.pow(least_step.ilog10());
    let step = [1, 2, 5, 10]
        .iter()
        .map(|factor| power.saturating_mul(*factor))
        .find(|step| *step >= least_step)
        .unwrap_or(least_step);
    let count = most.div_ceil(step).max(1);
    (0..=count).map(|i| i.saturating_mul(step)).collect()
}

/// The powers of ten between which positive values lie, neither of them the same.
pub fn decades(values: impl Iterator<Item = f64>) -> Option<(i32, i32)> {
    let usable = values.filter(|value| value.is_finite() && *value > 0.0);
    let powers = usable.map(f64::log10);
    let (low, high) = powers.fold((f64::MAX, f64::MIN), |(low, high), power| {
        (low.min(power), high.max(power))
    });
    (low <= high).then(|| {
        let low = low.floor() as i32;
        (low, (high.ceil() as i32).max(low + 1))
    })
}

/// A count that fits beside its axis or into a cell: `12,345`, `1.2 M`.
pub fn short(count: u64) -> String {
    let scaled = |unit: f64, name: &str| {
        let digits = format!("{:.1}", count as f64 / unit);
        format!("{} {name}", digits.trim_end_matches(".0"))
    };
    match count {
        1_000_000_000_000_000_000.. => scaled(1e18, "E"),
        1_000_000_000_000_000.. => scaled(1e15, "P"),
        1_000_000_000_000.. => scaled(1e12, "T"),
        1_000_000_000.. => scaled(1e9, "G"),
        1_000_000.. => scaled(1e6, "M"),
        100_000.. => scaled(1e3, "k"),
        _ => crate::report::number::grouped(count),
    }
}

/// Bytes as short: `12,345 B`, `1.2 MB`.
pub fn short_bytes(bytes: u64) -> String {
    let number = short(bytes);
    match number.ends_with(|character: char| character.is_ascii_alphabetic()) {
        true => number + "B",
        false => number + " B",
    }
}

/// Bytes at a mark of an axis that ends there: all of its marks have one unit.
pub fn bytes_in_unit_of(bytes: u64, end: u64) -> String {
    let (unit, name) = match end {
        1_000_000_000_000_000_000.. => (1e18, "EB"),
        1_000_000_000_000_000.. => (1e15, "PB"),
        1_000_000_000_000.. => (1e12, "TB"),
        1_000_000_000.. => (1e9, "GB"),
        1_000_000.. => (1e6, "MB"),
        100_000.. => (1e3, "kB"),
        _ => return format!("{} B", crate::report::number::grouped(bytes)),
    };
    let digits = format!("{:.1}", bytes as f64 / unit);
    format!("{} {name}", digits.trim_end_matches(".0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_one_unit() {
        let marks = [0, 50_000, 100_000, 150_000].map(|bytes| bytes_in_unit_of(bytes, 150_000));
        assert_eq!(marks, ["0 kB", "50 kB", "100 kB", "150 kB"]);
        assert_eq!(bytes_in_unit_of(50_000, 60_000), "50,000 B");
        assert_eq!(bytes_in_unit_of(500_000, 2_000_000), "0.5 MB");
    }

    #[test]
    fn steps_are_round_and_reach_the_most() {
        assert_eq!(round_steps(0), [0, 1]);
        assert_eq!(round_steps(1), [0, 1]);
        assert_eq!(round_steps(12), [0, 2, 4, 6, 8, 10, 12]);
        assert_eq!(round_steps(5441), [0, 1000, 2000, 3000, 4000, 5000, 6000]);
        for most in [3, 7, 99, 100, 101, 12_345, u64::MAX / 3, u64::MAX] {
            let steps = round_steps(most);
            assert!((2..=7).contains(&steps.len()), "{most}: {steps:?}");
            assert!(*steps.last().unwrap() >= most, "{most}: {steps:?}");
        }
    }

    #[test]
    fn decades_hold_what_is_positive() {
        assert_eq!(decades([0.0, 0.002, 35.0].into_iter()), Some((-3, 2)));
        assert_eq!(decades([10.0].into_iter()), Some((1, 2)));
        assert_eq!(
            decades([0.0, f64::NAN, -1.0, f64::INFINITY].into_iter()),
            None
        );
    }

    #[test]
    fn counts_are_short() {
        let cases = [
            (0, "0"),
            (99_999, "99,999"),
            (100_000, "100 k"),
            (1_250_000, "1.2 M"),
            (u64::MAX, "18.4 E"),
        ];
        for (count, text) in cases {
            assert_eq!(short(count), text);
        }
        assert_eq!(short_bytes(99_999), "99,999 B");
        assert_eq!(short_bytes(1_250_000), "1.2 MB");
    }
}
