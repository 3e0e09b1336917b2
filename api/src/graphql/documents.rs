//! Documents that were looked at and parsed, kept by their text. Clients send the same few with other variables, and
//! parsing one costs more than what most mutations do (docs/benchmarks.md).

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::ServerError;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::ExecutableDocument;
use lru::LruCache;

use super::document::{self, DocumentFault};
use super::errors::with_code;
use super::expansion;
use crate::error_codes as code;
use crate::limits::{DOCUMENT_KEPT_BYTES_MAX, DOCUMENTS_KEPT_MAX};

/// The documents that were used last.
pub(super) struct Documents(Mutex<LruCache<String, Arc<ExecutableDocument>>>);

impl Documents {
    pub(super) fn new() -> Self {
        let kept = NonZeroUsize::new(DOCUMENTS_KEPT_MAX).expect("some are kept");
        Self(Mutex::new(LruCache::new(kept)))
    }

    /// The document of a text. One that is refused is not kept: whether it is depends on the text alone.
    ///
    /// # Errors
    /// It is too large, or it is not GraphQL.
    pub(super) fn read(&self, text: &str) -> Result<Arc<ExecutableDocument>, ServerError> {
        if let Some(kept) = self.kept().get(text) {
            return Ok(Arc::clone(kept));
        }
        document::check(text).map_err(DocumentFault::into_error)?;
        let parsed = parse_query(text);
        let document = parsed.map_err(|error| with_code(error.into(), code::GRAPHQL_PARSE_FAILED))?;
        expansion::check(&document).map_err(DocumentFault::into_error)?;
        let document = Arc::new(document);
        if text.len() <= DOCUMENT_KEPT_BYTES_MAX {
            self.kept().put(text.to_owned(), Arc::clone(&document));
        }
        Ok(document)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, LruCache<String, Arc<ExecutableDocument>>> {
        // Nothing that panics is done under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_parsed_once_and_another_one_is_another_document() {
        let documents = Documents::new();
        let first = documents.read("{ me { tenant } }").unwrap();
        assert!(Arc::ptr_eq(&first, &documents.read("{ me { tenant } }").unwrap()));
        assert!(!Arc::ptr_eq(
            &first,
            &documents.read("{ me { tenant  } }").unwrap()
        ));
    }

    #[test]
    fn what_is_refused_is_refused_again_and_never_kept() {
        let documents = Documents::new();
        let deep = "{ a ".repeat(1_000);
        for text in [
            "{ me { tenant }",
            "{ ...F } fragment F on Query { ...F }",
            deep.as_str(),
        ] {
            let first = documents.read(text).unwrap_err();
            assert_eq!(first.to_string(), documents.read(text).unwrap_err().to_string());
        }
        assert_eq!(documents.kept().len(), 0);
    }

    #[test]
    fn many_and_long_documents_do_not_fill_the_memory() {
        let documents = Documents::new();
        for number in 0..2 * DOCUMENTS_KEPT_MAX {
            documents.read(&format!("{{ a{number} }}")).unwrap();
        }
        assert_eq!(documents.kept().len(), DOCUMENTS_KEPT_MAX);
        let long = format!("{{ a }} #{}", " ".repeat(DOCUMENT_KEPT_BYTES_MAX));
        documents.read(&long).unwrap();
        assert!(!documents.kept().contains(&long));
    }
}
