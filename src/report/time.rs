//! Times for people.

use crate::units::Timestamp;

const NANOS: i64 = 1_000_000_000;

/// A time as RFC 3339 has it, in UTC with nanoseconds.
pub fn rfc3339(time: Timestamp) -> String {
    let seconds = time.as_nanos().div_euclid(NANOS);
    let nanos = time.as_nanos().rem_euclid(NANOS);
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// A time to the second in UTC, as people write it: `2026-01-02 03:04:05 UTC`.
pub fn second(time: Timestamp) -> String {
    let text = rfc3339(time);
    match text.split_once('T') {
        Some((date, of_day)) => format!("{date} {} UTC", &of_day[..8]),
        None => text,
    }
}

/// A time to the millisecond in UTC that sorts and may stand in a file's name: `20260102-030405.678`.
pub fn compact(time: Timestamp) -> String {
    let text = rfc3339(time);
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    format!("{}-{}.{}", &digits[..8], &digits[8..14], &digits[14..17])
}

/// Year, month and day of a day since the Unix epoch in the Gregorian calendar: years begin in
/// March, so that the leap day is the last of its year, and repeat after 400 years of 146,097 days.
fn date(day_since_epoch: i64) -> (i64, i64, i64) {
    let day = day_since_epoch + 719_468; // since 0000-03-01
    let era = day.div_euclid(146_097);
    let day = day.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month_of_year = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month_of_year <= 2);
    (year, month_of_year, day_of_month)
}

/// The same of a number that has no sign.
pub fn duration(nanos: u64) -> String {
    span(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// A span of nanoseconds in the unit that suits it.
pub fn span(nanos: i64) -> String {
    let n = nanos as f64;
    match nanos {
        ..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.2} µs", n / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", n / 1e6),
        1_000_000_000..120_000_000_000 => format!("{:.2} s", n / 1e9),
        120_000_000_000..7_200_000_000_000 => format!("{:.1} min", n / 60e9),
        7_200_000_000_000..172_800_000_000_000 => format!("{:.1} h", n / 3600e9),
        _ => format!("{:.1} days", n / 86_400e9),
    }
}

/// A span of nanoseconds that bounds others from above: three digits, rounded up, so that the bound
/// stays true and does not look more exact than it is.
pub fn bound(nanos: u64) -> String {
    let digits = nanos.max(1).ilog10();
    let last = 10_u64.pow(digits.saturating_sub(2));
    let rounded = nanos.div_ceil(last).saturating_mul(last);
    let (unit, name) = match rounded {
        ..1_000 => return format!("{rounded} ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        1_000_000_000..120_000_000_000 => (1e9, "s"),
        _ => return duration(nanos),
    };
    match rounded as f64 / unit {
        value @ ..10.0 => format!("{value:.2} {name}"),
        value @ ..100.0 => format!("{value:.1} {name}"),
        value => format!("{value:.0} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_has_three_digits_and_is_not_rounded_down() {
        let spans = [0, 104, 1_000, 61_440, 147_456, 720_896, 999_999, u64::MAX];
        assert_eq!(
            spans.map(bound),
            [
                "0 ns",
                "104 ns",
                "1.00 µs",
                "61.5 µs",
                "148 µs",
                "721 µs",
                "1.00 ms",
                "106752.0 days"
            ]
            .map(str::to_owned)
        );
        assert_eq!(bound(61_000_000_000), "61.0 s");
    }

    #[test]
    fn times_are_those_of_date_1() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400 * NANOS, "2000-02-29T00:00:00.000000000Z"),
            (1_700_000_000 * NANOS + 5, "2023-11-14T22:13:20.000000005Z"),
            (4_107_542_400 * NANOS, "2100-03-01T00:00:00.000000000Z"),
        ];
        for (nanos, text) in cases {
            assert_eq!(rfc3339(Timestamp::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn a_time_to_the_second_is_cut_and_not_rounded() {
        let time = Timestamp::from_nanos(1_700_000_000 * NANOS + 999_999_999);
        assert_eq!(second(time), "2023-11-14 22:13:20 UTC");
    }

    #[test]
    fn spans_have_a_unit_that_suits_them() {
        assert_eq!(span(0), "0 ns");
        assert_eq!(span(21_300_000), "21.30 ms");
        assert_eq!(span(315_576_000_000_000_000), "3652.5 days");
        assert_eq!(span(61_000_000_000), "61.00 s");
    }
}
