//! Hand-made histories, and what the judge must say of them.
