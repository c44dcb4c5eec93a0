//! Figures for people: grouped digits, two significant digits with an SI prefix, shares.

/// SI prefixes by power of ten.
const PREFIXES: [(i32, &str); 12] = [
    (-24, "y"),
    (-21, "z"),
    (-18, "a"),
    (-15, "f"),
    (-12, "p"),
    (-9, "n"),
    (-6, "µ"),
    (-3, "m"),
    (0, ""),
    (3, "k"),
    (6, "M"),
    (9, "G"),
];

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Two significant digits with an SI prefix: `8.6 µJ`, `86 µJ`, `860 µJ`. Modelled figures are not
/// known better.
pub fn modelled(value: f64, unit: &str) -> String {
    significant(value, 2, unit)
}

/// As [`modelled`], with so many significant digits, from 2: for figures whose difference is known
/// better than they are.
pub fn significant(value: f64, wanted: usize, unit: &str) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value} {unit}");
    }
    let last = i32::try_from(wanted).unwrap_or(i32::MAX) - 1;
    let mut exponent = value.abs().log10().floor() as i32;
    let mut digits = (value / 10_f64.powi(exponent - last)).round();
    if digits.abs() >= 10_f64.powi(last + 1) {
        digits /= 10.0;
        exponent += 1;
    }
    let power = exponent.div_euclid(3) * 3;
    let (power, prefix) = PREFIXES[usize::try_from((power + 24) / 3)
        .unwrap_or(0)
        .min(PREFIXES.len() - 1)];
    let scaled = digits * 10_f64.powi(exponent - last - power);
    let decimals = usize::try_from(last - (exponent - power)).unwrap_or(0);
    format!("{scaled:.decimals$} {prefix}{unit}")
}

/// A source's figure with an SI prefix and up to four of its digits: `26.3 nJ`, `0.5 J`.
pub fn sourced(value: f64, unit: &str) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value} {unit}");
    }
    // A power of ten that logarithms make a hair too small still begins its own thousand.
    let power = ((value.abs().log10() + 1e-9) / 3.0).floor() as i32 * 3;
    let (power, prefix) = PREFIXES[usize::try_from((power + 24) / 3)
        .unwrap_or(0)
        .min(PREFIXES.len() - 1)];
    let scaled = format!("{:.3}", value / 10_f64.powi(power));
    let digits = scaled.trim_end_matches('0').trim_end_matches('.');
    format!("{digits} {prefix}{unit}")
}

/// Grams a kilowatt-hour with one decimal, and little with two digits: it is not nothing.
pub fn rate(grams_per_kwh: f64) -> String {
    let decimals = match grams_per_kwh.abs() {
        little if little > 0.0 && little < 1.0 => {
            (1.0 - little.log10().floor()).min(330.0) as usize
        }
        _ => 1,
    };
    format!("{grams_per_kwh:.decimals$} g/kWh")
}

/// A share of one as a percentage with one decimal.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A mean: whole where it is whole, else with two decimals.
pub fn mean(value: f64) -> String {
    if value.fract() == 0.0 && value < 1e19 {
        return grouped(value as u64);
    }
    let hundredths = (value * 100.0).round() as u64;
    format!("{}.{:02}", grouped(hundredths / 100), hundredths % 100)
}

/// `1 message`, `2 messages`, `3 entries`.
pub fn counted(n: u64, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else if let Some(stem) = noun.strip_suffix('y') {
        format!("{} {stem}ies", grouped(n))
    } else {
        format!("{} {noun}s", grouped(n))
    }
}

/// The value of a figure as these functions write it, in the unit without a prefix: `8.6 µJ` is
/// 8.6e-6, `1,234` is 1234, `12.5 %` is 12.5; of a range its lower end. None where the text does not
/// begin with a figure.
pub fn shown_value(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit() && !matches!(c, ',' | '.'));
    let (number, rest) = digits.split_at(end.unwrap_or(digits.len()));
    // A range of whole numbers: `3..6`.
    let number = number.split("..").next()?.replace(',', "");
    let number: f64 = number.parse().ok()?;
    let number = if text.starts_with('-') {
        -number
    } else {
        number
    };
    let unit = rest.split_whitespace().next().unwrap_or("");
    let scale = match unit {
        "min" => 60.0,
        "h" => 3600.0,
        "days" => 86_400.0,
        _ => PREFIXES
            .iter()
            .find(|(_, prefix)| {
                let unit = unit.strip_prefix(prefix);
                !prefix.is_empty() && unit.is_some_and(|unit| UNITS.contains(&unit))
            })
            .map_or(1.0, |(power, _)| 10_f64.powi(*power)),
    };
    Some(number * scale)
}

/// The units that stand behind a prefix.
const UNITS: [&str; 6] = ["J", "g", "s", "Wh", "B", "W"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (n, text) in cases {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn modelled_figures_have_two_significant_digits() {
        let cases = [
            (0.0, "0 J"),
            (8.64e-6, "8.6 µJ"),
            (86.4e-6, "86 µJ"),
            (864e-6, "860 µJ"),
            (9.96e-6, "10 µJ"),
            (99.6e-6, "100 µJ"),
            (999.6e-6, "1.0 mJ"),
            (1.0, "1.0 J"),
            (72e-6, "72 µJ"),
            (3.6e6, "3.6 MJ"),
            (1.5e13, "15000 GJ"),
            (2.3e-19, "230 zJ"),
        ];
        assert_eq!(significant(12.861e-6, 3, "J"), "12.9 µJ");
        assert_eq!(significant(999.96e-6, 4, "J"), "1.000 mJ");
        assert_eq!(significant(128.61e-6, 3, "J"), "129 µJ");
        for (value, text) in cases {
            assert_eq!(modelled(value, "J"), text);
        }
    }

    #[test]
    fn figures_have_the_value_that_they_show() {
        let near = |text: &str, value: f64| {
            let shown = shown_value(text).unwrap_or(f64::NAN);
            assert!(
                (shown - value).abs() <= value.abs() * 1e-12,
                "{text}: {shown}"
            );
        };
        near("8.6 µJ", 8.6e-6);
        near("3.4 µJ - 16 µJ", 3.4e-6);
        near("830 pg", 830e-12);
        near("3.6 MJ", 3.6e6);
        near("21.30 ms", 21.3e-3);
        near("2.0 min", 120.0);
        near("1,234,567", 1_234_567.0);
        near("-12", -12.0);
        near("+1.5 kg", 1500.0);
        near("12.5 %", 12.5);
        near("3..6", 3.0);
        near("1,000..2,000", 1000.0);
        near("3 transactions", 3.0);
        for (value, unit) in [(2.3e-19, "J"), (860e-6, "J"), (0.0, "g")] {
            near(&modelled(value, unit), value);
        }
        for words in ["-", "", "no range", "ring", ".", "process 3"] {
            assert_eq!(shown_value(words), None, "{words}");
        }
    }

    #[test]
    fn sourced_figures_keep_their_digits() {
        for (value, text) in [
            (0.0, "0 J"),
            (26.3e-9, "26.3 nJ"),
            (0.0688e-9, "68.8 pJ"),
            (9.34e-9, "9.34 nJ"),
            (1e-6, "1 µJ"),
            (212.4e-6, "212.4 µJ"),
            (0.001, "1 mJ"),
            (2.0, "2 J"),
        ] {
            assert_eq!(sourced(value, "J"), text);
        }
    }

    #[test]
    fn a_low_rate_is_not_written_as_nothing() {
        for (grams, text) in [
            (429.642_692_864, "429.6 g/kWh"),
            (1.0, "1.0 g/kWh"),
            (0.5, "0.50 g/kWh"),
            (0.04, "0.040 g/kWh"),
            (0.0, "0.0 g/kWh"),
        ] {
            assert_eq!(rate(grams), text);
        }
    }

    #[test]
    fn means_and_shares() {
        assert_eq!(mean(12.0), "12");
        assert_eq!(mean(1234.5), "1,234.50");
        assert_eq!(mean(0.005), "0.01");
        assert_eq!(mean(2e17), "200,000,000,000,000,000");
        assert_eq!(percent(0.0704), "7.0 %");
        assert_eq!(counted(1, "entry"), "1 entry");
        assert_eq!(counted(2000, "entry"), "2,000 entries");
        assert_eq!(counted(0, "message"), "0 messages");
    }
}
