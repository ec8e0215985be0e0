//! "Did you mean": the nearest of the known names. Called wherever a name is not found.

/// The known name nearest to `name`, if one is near enough to be meant.
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    // Distance is quadratic in length: nobody means a name of a kilobyte.
    if wanted.len() > 128 {
        return None;
    }
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    let near = |k: &'a str| {
        let distance = strsim::damerau_levenshtein(&wanted, &k.to_lowercase());
        (k.len() <= 256 && distance <= allowed).then_some((distance, k))
    };
    known.into_iter().filter_map(near).min().map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(closest("prise", ["price", "bidder"]), Some("price"));
        assert_eq!(closest("DATETIME", ["dateTime"]), Some("dateTime"));
        assert_eq!(closest("xyz", ["price", "bidder"]), None);
        assert_eq!(closest(&"p".repeat(100_000), ["price"]), None);
    }
}
