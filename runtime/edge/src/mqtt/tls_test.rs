//! TLS and login against mosquitto: what must connect does, and what must not does not.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::link::{ClientCertificate, Link, LinkError, LinkOptions, Login, Password};
use super::test_broker::{Kind, Subject, TestBroker, bounded, mosquitto_is_missing};

/// A certificate authority that signed a server and a client, as PEM files.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        for name in ["localhost", "edge"] {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Authority { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

async fn broker(authority: &Authority, client_certificates: bool) -> TestBroker {
    let path = |name: &str| authority.file(name).display().to_string();
    let mut broker = TestBroker::new(Kind::Mosquitto);
    broker.extra = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate {client_certificates}",
        path("ca.pem"),
        path("localhost.pem"),
        path("localhost.key"),
    );
    broker.start().await;
    broker
}

fn options(broker: &TestBroker, host: &str, ca: &Path) -> LinkOptions {
    let url = format!("mqtts://{host}:{}", broker.port).parse().unwrap();
    LinkOptions { url, ca_file: Some(ca.to_owned()), ..broker.options("edge") }
}

#[tokio::test]
async fn the_right_authority_and_name_connect_and_the_wrong_ones_do_not() {
    if mosquitto_is_missing() {
        return;
    }
    bounded(async {
        let (ours, other) = (Authority::new(), Authority::new());
        let broker = broker(&ours, false).await;
        Subject::start(options(&broker, "localhost", &ours.file("ca.pem"))).up().await;
        // The certificate names localhost, not its address.
        let reason = Subject::start(options(&broker, "127.0.0.1", &ours.file("ca.pem"))).down().await;
        assert!(reason.contains("not valid for name"), "{reason}");
        let reason = Subject::start(options(&broker, "localhost", &other.file("ca.pem"))).down().await;
        assert!(reason.contains("certificate"), "{reason}");
    })
    .await;
}

#[tokio::test]
async fn a_client_certificate_is_presented_when_the_broker_wants_one() {
    if mosquitto_is_missing() {
        return;
    }
    bounded(async {
        let ours = Authority::new();
        let broker = broker(&ours, true).await;
        let without = options(&broker, "localhost", &ours.file("ca.pem"));
        let mut with = without.clone();
        with.certificate =
            Some(ClientCertificate { chain_file: ours.file("edge.pem"), key_file: ours.file("edge.key") });
        Subject::start(with).up().await;
        Subject::start(without).down().await;
    })
    .await;
}

#[tokio::test]
async fn files_that_are_no_certificates_are_refused_at_start() {
    let ours = Authority::new();
    let broker = TestBroker::new(Kind::Mosquitto);
    for file in ["missing.pem", "localhost.key"] {
        let error = Link::start(options(&broker, "localhost", &ours.file(file))).map(drop).unwrap_err();
        assert!(matches!(error, LinkError::Tls(_)), "{error}");
        assert!(error.to_string().contains(file));
    }
    let mut mixed = options(&broker, "localhost", &ours.file("ca.pem"));
    mixed.certificate =
        Some(ClientCertificate { chain_file: ours.file("edge.pem"), key_file: ours.file("localhost.key") });
    assert!(matches!(Link::start(mixed).map(drop).unwrap_err(), LinkError::Tls(_)));
}

#[tokio::test]
async fn a_refused_login_says_so_without_the_password() {
    if mosquitto_is_missing() {
        return;
    }
    bounded(async {
        let mut broker = TestBroker::new(Kind::Mosquitto);
        broker.extra = "allow_anonymous false".to_owned();
        broker.start().await;
        let mut options = broker.options("edge");
        options.login = Some(Login { username: "op".into(), password: Password::new("hunter2".into()) });
        let reason = Subject::start(options).down().await;
        assert!(reason.contains("access list") && !reason.contains("hunter2"), "{reason}");
    })
    .await;
}
