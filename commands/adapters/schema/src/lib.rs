//! Validation of payloads against the JSON schemas of the event catalogue.
