//! Whatever bytes arrive, there is an error or a result: never a panic.

use cipherfit_bfv::error::MessageError;
use cipherfit_bfv::{Client, Error, PublicKey, SecretKey, Server, Specs};

use crate::common::{Layer, Numbers, Pair};

const MUTATIONS: u64 = 3000;

/// `bytes` with some of them changed, cut, repeated or appended.
fn mutated(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let below = |numbers: &mut Numbers, length: usize| {
        usize::try_from(numbers.next() % length.max(1) as u64).unwrap()
    };
    for _ in 0..=numbers.next() % 3 {
        // Heads are hit as often as all the rest.
        let window =
            if numbers.next().is_multiple_of(2) { bytes.len().min(80) } else { bytes.len() };
        let at = below(numbers, window);
        match numbers.next() % 6 {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..),
            2 => bytes.insert(at, numbers.next().to_le_bytes()[0]),
            3 if !bytes.is_empty() => bytes[at] = 0xff,
            _ if !bytes.is_empty() => bytes[at] ^= 1 << (numbers.next() % 8),
            _ => {}
        }
    }
    bytes
}

/// How many mutations of a message are accepted.
fn accepted(bytes: &[u8], seed: u64, read: impl Fn(&[u8]) -> Result<(), Error>) -> u64 {
    assert_eq!(read(bytes), Ok(()));
    let mut numbers = Numbers(seed);
    let outcomes = (0..MUTATIONS).map(|_| read(&mutated(bytes, &mut numbers)));
    let count = |outcome: Result<(), Error>| {
        assert!(!matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
        u64::from(outcome.is_ok())
    };
    outcomes.map(count).sum()
}

fn pair() -> Pair {
    Pair::new(&Layer::random(1, (20, 3), 4, 15).graph(), None).unwrap()
}

#[test]
fn mutated_requests_are_errors_or_answered() {
    let pair = pair();
    for rows in [1, 5, 60] {
        let codes = vec![7; 20 * rows];
        let request = pair.client.encrypt(&codes).unwrap();
        let run = |bytes: &[u8]| {
            let answer = pair.server.run(bytes, &pair.public_key)?;
            pair.client.decrypt(&answer).map(|_| ())
        };
        // Bits of a polynomial may change what is decrypted, and nothing else.
        assert!(accepted(&request, 11, run) > 0);
    }
}

#[test]
fn mutated_answers_are_errors_or_decrypted() {
    let pair = pair();
    let request = pair.client.encrypt(&[7; 100]).unwrap();
    let answer = pair.server.run(&request, &pair.public_key).unwrap();
    assert!(accepted(&answer, 12, |bytes| pair.client.decrypt(bytes).map(|_| ())) > 0);
}

#[test]
fn mutated_keys_are_errors_or_used() {
    let pair = pair();
    let specs = pair.client.specs();
    let request = pair.client.encrypt(&[7; 100]).unwrap();
    let public = pair.client.key().public_key(specs);
    let run = |bytes: &[u8]| {
        let key = PublicKey::from_bytes(specs, bytes)?;
        pair.server.run(&request, &key).map(|_| ())
    };
    assert!(accepted(&public, 13, run) > 0);
    let secret = pair.client.key().to_bytes(specs);
    let read = |bytes: &[u8]| {
        let client = Client::new(specs.clone(), SecretKey::from_bytes(specs, bytes)?);
        client.encrypt(&[7; 20]).map(|_| ())
    };
    assert!(accepted(&secret, 14, read) > 0);
}

#[test]
fn mutated_specs_and_servers_are_errors_or_work() {
    let pair = pair();
    let read = |bytes: &[u8]| {
        let specs = Specs::from_bytes(bytes)?;
        let client = Client::new(specs.clone(), SecretKey::generate(&specs)?);
        client.encrypt(&[]).map(|_| ())
    };
    accepted(&pair.client.specs().to_bytes(), 15, read);
    accepted(&pair.server.to_bytes(), 16, |bytes| Server::from_bytes(bytes).map(|_| ()));
}

#[test]
fn a_coefficient_that_is_not_below_its_prime_is_named() {
    let pair = pair();
    let mut request = pair.client.encrypt(&[7; 20]).unwrap();
    let last = request.len() - 7;
    request[last..].fill(0xff);
    let error = pair.server.run(&request, &pair.public_key).unwrap_err();
    assert!(
        matches!(error, Error::Message(MessageError::Range { name: "coefficient", .. })),
        "{error}"
    );
}

#[test]
fn claims_reserve_no_memory() {
    let pair = pair();
    let mut request = pair.client.encrypt(&[7; 20]).unwrap();
    // Behind magic, version, kind, digest and key name: layout, then rows.
    let rows = 14 + 3 + 16 + 16 + 1;
    request[rows..rows + 4].copy_from_slice(&(1_u32 << 24).to_le_bytes());
    let error = pair.server.run(&request, &pair.public_key).unwrap_err();
    let Error::Message(MessageError::Length { expected, got, .. }) = error else {
        panic!("{error}");
    };
    assert!(expected > 1_000_000 && got == request.len());
    request[rows..rows + 4].fill(0xff);
    let error = pair.server.run(&request, &pair.public_key).unwrap_err();
    assert!(matches!(error, Error::Message(MessageError::Range { name: "rows", .. })), "{error}");
}
