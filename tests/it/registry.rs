//! Registries, good ones and bad ones, and what they say.
//!
//! | file | holds |
//! |---|---|
//! | `documents` | manifests, indexes and configs that are not what they should be |
//! | `credentials` | who is shown what, and what is never shown to anybody |
//! | `hosts` | redirects, token servers, proxies, names |
//! | `transfer` | connections that are cut, slow, or busy |
//! | `debian` | Debian's `docker-registry`, with TLS and passwords |
//! | `many` | images of very many layers |

mod credentials;
mod debian;
mod documents;
mod hosts;
mod many;
mod transfer;
