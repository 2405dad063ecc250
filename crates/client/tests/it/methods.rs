//! Every way in which a client proves who it is, as it goes over the wire.

mod assertions;
mod mutual_tls;
mod settings;
