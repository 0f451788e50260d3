package apns

import "errors"

var (
	// ErrKeyExposed says that a key file may be read by others than its owner.
	ErrKeyExposed = errors.New("key file may be read by group or others: chmod 600")
	// ErrBadKey says that a key is not an EC P-256 private key in PKCS #8 PEM.
	ErrBadKey = errors.New("not an APNs signing key (.p8)")
	// ErrBadCertificate says that a certificate and its key cannot be read.
	ErrBadCertificate = errors.New("not an APNs certificate with its key")
	// ErrBadConfig says that a Service cannot be made of a Config.
	ErrBadConfig = errors.New("bad APNs configuration")

	errClosed        = errors.New("sender closed")
	errUnreachable   = errors.New("no connection") // none could be made
	errNotHTTP2      = errors.New("the server does not speak HTTP/2")
	errReplaced      = errors.New("the credential was replaced meanwhile")
	errWrongPassword = errors.New("the password is wrong")
	errNotItsKey     = errors.New("the key is not that of the certificate")
)
