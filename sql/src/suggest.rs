//! "Did you mean": the nearest of the known names, by the rule that options of connectors are suggested with. Called wherever a name is
//! not found.

pub use thalweg_connectors::options::nearest as closest;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(closest("prise", ["price", "bidder"]), Some("price"));
        assert_eq!(closest("DATETIME", ["dateTime"]), Some("dateTime"));
        assert_eq!(closest("xyz", ["price", "bidder"]), None);
    }
}
