//! How payload structs are declared.
//!
//! `payloads!` takes plain structs. `Option<…>`, `Vec<…>` and `Ext` fields are optional: left out of the JSON when
//! absent or empty, and absent in `new`, which takes the other fields in the order in which they stand. A list that
//! must be present is written `List<…>`, an object `Object`. Unknown fields are refused everywhere; what has no field of its own goes into
//! a documented free map (`Ext`).

use std::collections::BTreeMap;

/// Free fields of the source, kept as given and never interpreted.
pub type Ext = BTreeMap<String, serde_json::Value>;

/// A list that has to be present, though it may be empty.
pub type List<T> = Vec<T>;

/// An object that has to be present, whatever is in it.
pub type Object = BTreeMap<String, serde_json::Value>;

macro_rules! payloads {
    ($($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* })*) => {
        $($crate::payload::payload! { @ [$(#[$meta])*] $name [] [] [] $($body)* })*
    };
}

macro_rules! payload {
    (@ $meta:tt $name:ident [$($fields:tt)*] $args:tt [$($init:tt)*]
        $(#[$doc:meta])* pub $field:ident : Option<$ty:ty>, $($rest:tt)*) => {
        $crate::payload::payload! { @ $meta $name
            [$($fields)* $(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$ty>,]
            $args [$($init)* $field: None,] $($rest)* }
    };
    (@ $meta:tt $name:ident [$($fields:tt)*] $args:tt [$($init:tt)*]
        $(#[$doc:meta])* pub $field:ident : Vec<$ty:ty>, $($rest:tt)*) => {
        $crate::payload::payload! { @ $meta $name
            [$($fields)* $(#[$doc])* #[serde(default, skip_serializing_if = "Vec::is_empty")] pub $field: Vec<$ty>,]
            $args [$($init)* $field: Vec::new(),] $($rest)* }
    };
    (@ $meta:tt $name:ident [$($fields:tt)*] $args:tt [$($init:tt)*]
        $(#[$doc:meta])* pub $field:ident : Ext, $($rest:tt)*) => {
        $crate::payload::payload! { @ $meta $name
            [$($fields)* $(#[$doc])*
                #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
                pub $field: Ext,]
            $args [$($init)* $field: std::collections::BTreeMap::new(),] $($rest)* }
    };
    (@ $meta:tt $name:ident [$($fields:tt)*] [$($args:tt)*] [$($init:tt)*]
        $(#[$doc:meta])* pub $field:ident : $ty:ty, $($rest:tt)*) => {
        $crate::payload::payload! { @ $meta $name
            [$($fields)* $(#[$doc])* pub $field: $ty,]
            [$($args)* $field: $ty,] [$($init)* $field,] $($rest)* }
    };
    (@ [$(#[$meta:meta])*] $name:ident [$($fields:tt)*] [] [$($init:tt)*]) => {
        $(#[$meta])*
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($fields)* }
    };
    (@ [$(#[$meta:meta])*] $name:ident [$($fields:tt)*] [$($args:tt)*] [$($init:tt)*]) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($fields)* }

        impl $name {
            /// One with the required fields; everything else absent.
            #[allow(clippy::too_many_arguments, reason = "one per required field, generated")]
            pub fn new($($args)*) -> Self {
                Self { $($init)* }
            }
        }
    };
}

pub(crate) use {payload, payloads};
