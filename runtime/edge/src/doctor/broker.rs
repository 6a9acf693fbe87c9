//! Whether something listens where the broker should be.
//!
//! Not a login and no MQTT packet. Invariant: it returns within the timeout, even if a name server does not.

use super::Check;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

/// Connects to `host` and `port` and hangs up.
#[must_use]
pub fn check_broker(host: &str, port: u16, timeout: Duration) -> Check {
    const NAME: &str = "broker";
    const HINT: &str = "see that the broker runs, that mqtt.url is right and that no firewall is between";
    let (sender, receiver) = mpsc::channel();
    let target = (host.to_owned(), port);
    // Looking a name up has no timeout of its own, so it happens where nobody has to wait for it.
    std::thread::spawn(move || {
        // Nobody listens any more if the time is over.
        let _late = sender.send(connect(&target, timeout)).is_err();
    });
    match receiver.recv_timeout(timeout) {
        Ok(Ok(())) => Check::ok(NAME, format!("{host}:{port} accepts connections")),
        Ok(Err(reason)) => Check::fail(NAME, format!("{host}:{port}: {reason}"), HINT),
        Err(_) => Check::fail(NAME, format!("{host}:{port}: no answer in {} ms", timeout.as_millis()), HINT),
    }
}

fn connect(target: &(String, u16), timeout: Duration) -> Result<(), String> {
    let addresses = (target.0.as_str(), target.1).to_socket_addrs().map_err(|e| e.to_string())?;
    let mut reason = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(_) => return Ok(()),
            Err(e) => reason = e.to_string(),
        }
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use std::net::TcpListener;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_listener_is_found_and_its_absence_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(check_broker("127.0.0.1", port, SECOND * 5).level, Level::Ok);
        // Not the port that was just freed: another test may have it by now.
        let absent = check_broker("127.0.0.1", 1, SECOND * 5);
        assert_eq!(absent.level, Level::Fail);
        assert!(absent.detail.starts_with("127.0.0.1:1: "));
    }

    #[test]
    fn the_timeout_holds() {
        let begun = std::time::Instant::now();
        // An address kept for documentation: no one answers there.
        let check = check_broker("192.0.2.1", 1883, SECOND / 5);
        assert_eq!(check.level, Level::Fail);
        assert!(begun.elapsed() < SECOND * 5);
    }
}
