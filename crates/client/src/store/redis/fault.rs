//! Why a server did not do what it was asked for, as a [`StoreFault`].

use crate::store::{StoreFault, StoreFaultKind};
use ::redis::{ErrorKind, RedisError, ServerError, Value};
use jeton_proto::wire::error_response::printable;
use std::time::Duration;

/// The server's error, when that is what it answered.
pub(super) fn error_in(answer: &Value) -> Option<&ServerError> {
    match answer {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

/// The code of an error. Servers before 7.0 hide what a script met in the text of an `ERR`.
pub(super) fn code(error: &ServerError) -> &str {
    let hidden = error.details().filter(|_| error.code() == "ERR").and_then(|text| {
        let (_, inner) = text.strip_prefix("Error running script")?.split_once(": -")?;
        inner.split_once(' ').map(|(code, _)| code)
    });
    hidden.unwrap_or_else(|| error.code())
}

/// What a server answered, as a fault.
pub(super) fn refused(server: &str, error: &ServerError) -> StoreFault {
    let code = code(error);
    let text = error.details().unwrap_or_default();
    // Behind these words the server repeats what it was sent.
    let text = text.split("with args beginning with").next().unwrap_or_default();
    let hint = match code {
        "MOVED" | "ASK" => "; it is part of a cluster: name it as one",
        _ => "",
    };
    StoreFault::new(kind_of(code, text), printable(&format!("{server}: {code} {text}{hint}")))
}

/// A login that was refused. Of the answer only the code is told: some servers repeat the password in the rest.
pub(super) fn login_refused(server: &str, line: &str) -> StoreFault {
    let code: String = line
        .split(' ')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_uppercase)
        .take(16)
        .collect();
    let kind = kind_of(&code, line);
    StoreFault::new(kind, format!("{server}: the login was refused with {code}; check user and password"))
}

fn kind_of(code: &str, text: &str) -> StoreFaultKind {
    match code {
        "READONLY" | "OOM" | "LOADING" | "BUSY" | "MISCONF" | "NOREPLICAS" | "MASTERDOWN" | "CLUSTERDOWN"
        | "TRYAGAIN" => StoreFaultKind::Unwritable,
        "ERR" if text.contains("max number of clients") => StoreFaultKind::Unreachable,
        _ => StoreFaultKind::Denied,
    }
}

/// A connection that cannot be used, as the crate underneath tells of it.
pub(super) fn broken(server: &str, error: &RedisError) -> StoreFault {
    match error.kind() {
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            StoreFault::new(StoreFaultKind::Malformed, format!("{server}: its answer is not of the protocol"))
        }
        ErrorKind::RESP3NotSupported => StoreFault::new(
            StoreFaultKind::Denied,
            format!("{server}: it does not speak RESP3; Redis 6.0 or newer, or Valkey, is needed"),
        ),
        _ => match error.code() {
            Some(code) => {
                let text = error.detail().unwrap_or_default();
                StoreFault::new(kind_of(code, text), printable(&format!("{server}: {code} {text}")))
            }
            None => unreachable(server, "the connection broke"),
        },
    }
}

pub(super) fn unreachable(server: &str, what: &str) -> StoreFault {
    StoreFault::new(StoreFaultKind::Unreachable, printable(&format!("{server}: {what}")))
}

pub(super) fn timed_out(server: &str, what: &str, limit: Duration) -> StoreFault {
    let limit_ms = limit.as_millis();
    StoreFault::new(StoreFaultKind::TimedOut, format!("{server}: {what} within {limit_ms} ms"))
}

pub(super) fn malformed(server: &str, what: &str) -> StoreFault {
    StoreFault::new(StoreFaultKind::Malformed, format!("{server}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> ServerError {
        match ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap() {
            Value::ServerError(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn t30_each_error_is_of_its_kind_and_names_server_and_code() {
        for (line, kind) in [
            ("NOAUTH Authentication required.", StoreFaultKind::Denied),
            ("WRONGPASS invalid username-password pair or user is disabled.", StoreFaultKind::Denied),
            ("NOPERM User jeton has no permissions to run the 'evalsha' command", StoreFaultKind::Denied),
            ("ERR unknown command 'EVALSHA'", StoreFaultKind::Denied),
            ("READONLY You can't write against a read only replica.", StoreFaultKind::Unwritable),
            ("OOM command not allowed when used memory > 'maxmemory'.", StoreFaultKind::Unwritable),
            ("LOADING Redis is loading the dataset in memory", StoreFaultKind::Unwritable),
            ("BUSY Redis is busy running a script.", StoreFaultKind::Unwritable),
            ("MISCONF Redis is configured to save RDB snapshots", StoreFaultKind::Unwritable),
            ("MASTERDOWN Link with MASTER is down", StoreFaultKind::Unwritable),
            ("CLUSTERDOWN The cluster is down", StoreFaultKind::Unwritable),
            ("ERR max number of clients reached", StoreFaultKind::Unreachable),
        ] {
            let fault = refused("cache:6379", &error(line));
            assert_eq!(fault.kind(), kind, "{line}");
            let code = line.split(' ').next().unwrap();
            assert!(fault.detail().starts_with(&format!("cache:6379: {code} ")), "{fault}");
        }
    }

    #[test]
    fn what_a_script_met_is_found_in_the_words_of_older_servers() {
        let line = "ERR Error running script (call to f_0a): @user_script:44: @user_script: 44: -OOM command not \
                    allowed when used memory > 'maxmemory'.";
        assert_eq!(code(&error(line)), "OOM");
        assert_eq!(refused("cache:6379", &error(line)).kind(), StoreFaultKind::Unwritable);
        assert_eq!(code(&error("ERR Error running script: nothing to be found")), "ERR");
    }

    #[test]
    fn t34_what_a_server_repeats_is_not_told() {
        let line = "ERR unknown command 'AUTH', with args beginning with: 'jeton' 'canary' ";
        assert!(!refused("cache:6379", &error(line)).to_string().contains("canary"));
        let fault = login_refused("cache:6379", line);
        assert!(!fault.to_string().contains("canary") && fault.to_string().contains("ERR"), "{fault}");
    }
}
