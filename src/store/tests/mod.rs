//! Tests of a whole store that look at what is inside.

mod keeper;
