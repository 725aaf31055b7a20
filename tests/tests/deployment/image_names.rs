//! A name server that knows one name.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How long it may take to notice that it is not needed any more.
const PAUSE: Duration = Duration::from_millis(100);
/// Of a DNS message: who asks what, and how many of what follow.
const HEADER_LEN: usize = 12;
/// Type and class of a question.
const QUESTION_END_LEN: usize = 4;
/// The type of addresses of version 4.
const TYPE_A: [u8; 2] = [0, 1];

/// Answers on port 53 of an address of its own, until it is dropped.
pub(crate) struct NameServer {
    address: Ipv4Addr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Starts one that says of one name that it is this machine, and of all others that they have no address.
    pub(crate) fn of(name: &'static str) -> Self {
        let [high, low] = rand::random::<[u8; 2]>();
        let address = Ipv4Addr::new(127, 53, high, low.max(1));
        let socket = UdpSocket::bind((address, 53)).expect("port 53 of a loopback address, which needs root");
        socket.set_read_timeout(Some(PAUSE)).expect("a socket option");
        let ended = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut query = [0; 512];
            while !is_ended.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut query) else { continue };
                if let Some(answer) = answer(&query[..len], name) {
                    // Who does not get it asks again.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, ended, thread: Some(thread) }
    }

    /// What names it in `/etc/resolv.conf`.
    pub(crate) fn resolv_conf(&self) -> String {
        format!("nameserver {}\noptions timeout:1 attempts:3\n", self.address)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has panicked or not; the test has seen what it needed.
            let _ = thread.join();
        }
    }
}

fn label_len(label: &str) -> u8 {
    u8::try_from(label.len()).expect("labels have 63 bytes at most")
}

/// RFC 1035: the question again, and an address if it is about the name.
fn answer(query: &[u8], known: &str) -> Option<Vec<u8>> {
    let name_len = query.get(HEADER_LEN..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(HEADER_LEN..HEADER_LEN + name_len + QUESTION_END_LEN)?;
    let asked: Vec<u8> =
        known.split('.').flat_map(|label| [&[label_len(label)], label.as_bytes()].concat()).collect();
    let is_known = question[..name_len - 1] == asked[..] && question[name_len..name_len + 2] == TYPE_A;
    // An authoritative answer without an error to one question, with one record or none.
    let head = [&query[..2], &[0x84, 0, 0, 1, 0, u8::from(is_known), 0, 0, 0, 0]].concat();
    // The name of the question; an address of the Internet that is good for a minute.
    let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4], &Ipv4Addr::LOCALHOST.octets()[..]].concat();
    let record = if is_known { record } else { Vec::new() };
    Some([head, question.to_vec(), record].concat())
}
