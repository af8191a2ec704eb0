//! Fields of ASCII text inside untrusted bytes.

/// The bytes as text fit for an error message: at most 40 of them, escaped.
pub(super) fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(40)
        .flat_map(|byte| byte.escape_ascii())
        .map(char::from)
        .collect()
}

/// Without spaces, tabs, CR and NUL at both ends.
pub(super) fn trimmed(mut bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | 0);
    while let [first, rest @ ..] = bytes {
        if !is_blank(first) {
            break;
        }
        bytes = rest;
    }
    while let [rest @ .., last] = bytes {
        if !is_blank(last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// A whole decimal number without sign; `None` if it is anything else or beyond 64 bits.
pub(super) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Latin-1 to text; the vendor writes the micro sign as one byte.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_strictly() {
        assert_eq!(decimal(b"000042"), Some(42));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [&b""[..], b"18446744073709551616", b"-1", b"1.0", b" 1", b"0x1"] {
            assert_eq!(decimal(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn blanks_and_nul_are_trimmed() {
        assert_eq!(trimmed(b" \t a b\r\0"), b"a b");
        assert_eq!(trimmed(b" \0"), b"");
    }
}
