package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unicode"
)

// maxSecretFile bounds the files of secrets, keys and certificates.
const maxSecretFile = 1 << 20

// read reads a file that a key names and reports why it cannot be.
func (in *inspector) read(path, file string) ([]byte, bool) {
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		in.at(path, file+" is not a regular file", "name a file")
		return nil, false
	}
	var data []byte
	if err == nil {
		data, err = readBounded(file, maxSecretFile)
	}
	switch {
	case errors.Is(err, errTooLong):
		in.at(path, fmt.Sprintf("%s is larger than %d MiB", file, maxSecretFile>>20), "name the right file")
	case err != nil:
		in.at(path, file+" "+unreadable(err), "name a file that this user may read; paths are relative to the configuration's folder")
	}
	return data, err == nil
}

// readPrivate reads a file that nobody but its owner may read.
func (in *inspector) readPrivate(path, file string) ([]byte, bool) {
	data, ok := in.read(path, file)
	if info, err := os.Stat(file); ok && err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		in.at(path, fmt.Sprintf("%s may be read by others than its owner (mode %04o)", file, info.Mode().Perm()),
			"chmod 600 "+file)
		return nil, false
	}
	return data, ok
}

// secretFile is the secret that a file holds: its text without the line end.
func (in *inspector) secretFile(path, file string) Secret {
	data, ok := in.read(path, file)
	if !ok {
		return Secret{}
	}
	text := strings.TrimRight(string(data), "\r\n")
	switch {
	case text == "":
		in.at(path, file+" is empty", "write the secret into it")
		return Secret{}
	case strings.ContainsFunc(text, unicode.IsControl):
		in.at(path, file+" holds more than one line, or control characters", "write the secret alone into it")
		return Secret{}
	}
	in.exposed(path, file)
	return NewSecret(text)
}

// twin fills a secret from its file; both at once are a fault.
func (in *inspector) twin(path string, secret *Secret, file string) {
	if file == "" {
		return
	}
	if !secret.IsZero() {
		in.at(path+"_file", "is given beside "+path[strings.LastIndexByte(path, '.')+1:], "keep one of the two")
		return
	}
	*secret = in.secretFile(path+"_file", file)
}

// hash is a user's HA1 for one algorithm.
type hash struct {
	algorithm string // as Domain.Auth names it
	key       string
	size      int // bytes
	secret    Secret
	file      string
}

func (h hash) given() bool { return !h.secret.IsZero() || h.file != "" }

// credentials sees to it that a user can log in by every algorithm that the
// domain offers.
func (in *inspector) credentials(d *Domain, u *User, path string) {
	in.twin(path+".password", &u.Password, u.PasswordFile)
	in.twin(path+".ha1_md5", &u.HA1MD5, u.HA1MD5File)
	in.twin(path+".ha1_sha256", &u.HA1SHA256, u.HA1SHA256File)
	hashes := []hash{
		{"md5", "ha1_md5", md5.Size, u.HA1MD5, u.HA1MD5File},
		{"sha-256", "ha1_sha256", sha256.Size, u.HA1SHA256, u.HA1SHA256File},
	}
	hasPassword := !u.Password.IsZero() || u.PasswordFile != ""
	for _, h := range hashes {
		in.hash(h, hasPassword, path)
	}
	unread := in.blocked(path+".password") || in.blocked(path+".ha1_md5") || in.blocked(path+".ha1_sha256")
	if hasPassword || unread {
		return
	}
	if !hashes[0].given() && !hashes[1].given() {
		in.at(path+".password", "is missing: the user could not log in", "add password, password_file or the hashes")
		return
	}
	for _, h := range hashes {
		if !h.given() && slices.Contains(d.Auth, h.algorithm) {
			in.at(path+"."+h.key, "is missing: the domain's auth lists "+h.algorithm,
				"add "+h.key+", give password, or take "+h.algorithm+" out of the domain's auth")
		}
	}
}

// hash checks one of a user's hashes, if it is there.
func (in *inspector) hash(h hash, hasPassword bool, path string) {
	if h.secret.IsZero() {
		return // none, or its file has been reported
	}
	path += "." + h.key
	if h.file != "" {
		path += "_file"
	}
	if hasPassword {
		in.at(path, "is given beside a password, which stands for every algorithm", "keep one of the two")
	}
	if digest, err := hex.DecodeString(h.secret.Reveal()); err != nil || len(digest) != h.size {
		in.at(path, fmt.Sprintf("is not a hash of %d hexadecimal digits", 2*h.size),
			"write the hash of name:domain:password, or give password")
	}
}

// certificate reads the certificate and key of a tls listener.
func (in *inspector) certificate(l Listener, path string) {
	chain, haveChain := in.read(path+".cert_file", l.CertFile)
	key, haveKey := in.read(path+".key_file", l.KeyFile)
	if !haveChain || !haveKey {
		return
	}
	if block, _ := pem.Decode(chain); block == nil || block.Type != "CERTIFICATE" {
		in.at(path+".cert_file", l.CertFile+" does not begin with a PEM certificate", "name the certificate chain, leaf first")
		return
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		in.at(path+".key_file", "is no private key of the certificate: "+strings.TrimPrefix(err.Error(), "tls: "),
			"name the key that belongs to cert_file, PEM, without a passphrase")
		return
	}
	in.ending(path+".cert_file", l.CertFile, pair.Leaf, "renew it, or phones will refuse the connection")
	in.exposed(path+".key_file", l.KeyFile)
}

// exposed warns of a file with a secret that everybody on this machine may read.
func (in *inspector) exposed(path, file string) {
	if info, err := os.Stat(file); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		in.warn(path, fmt.Sprintf("%s may be read by everybody on this machine (mode %04o)", file, info.Mode().Perm()), "chmod o= "+file)
	}
}

// authorities reads a file of certificate authorities.
func (in *inspector) authorities(path, file string) {
	data, ok := in.read(path, file)
	if ok && !x509.NewCertPool().AppendCertsFromPEM(data) {
		in.at(path, file+" holds no PEM certificate", "name a file of CA certificates")
	}
}

// signingKey reads an APNs key: PKCS #8 in PEM, an ECDSA key on P-256. Whoever
// has it can push to every user of the app, hence the mode.
func (in *inspector) signingKey(path, file string) {
	data, ok := in.readPrivate(path, file)
	if !ok {
		return
	}
	const cure = "name the AuthKey_....p8 file as Apple gave it"
	block, _ := pem.Decode(data)
	if block == nil {
		in.at(path, file+" is not a PEM file", cure)
		return
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		in.at(path, file+" holds no PKCS #8 private key", cure)
		return
	}
	if signer, isECDSA := key.(*ecdsa.PrivateKey); !isECDSA || signer.Curve != elliptic.P256() {
		in.at(path, file+" is not a key for APNs (ECDSA on P-256)", cure)
	}
}
