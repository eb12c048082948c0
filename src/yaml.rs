//! YAML that users write, as all of its readers here take it.

use serde::de::DeserializeOwned;

/// Reads a text. References to what was said before count against the reader's own limits.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        leading_zero_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(text, options)
}
