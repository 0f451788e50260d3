package config

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// clientCertificates checks an app's certificates. One that expired is as good
// as none, and no reason to keep a server from starting that can still send by
// what else the app has: it is a fault only where there is nothing else.
func (in *inspector) clientCertificates(app App, path string) {
	type held struct {
		path, file string
		leaf       *x509.Certificate
	}
	certs := []held{
		{path: path + ".voip_certificate", file: app.VoIPCertificate.File},
		{path: path + ".alert_certificate", file: app.AlertCertificate.File},
	}
	certs[0].leaf = in.clientCertificate(certs[0].path, app.VoIPCertificate, app.BundleID, ".voip")
	certs[1].leaf = in.clientCertificate(certs[1].path, app.AlertCertificate, app.BundleID, "")
	expired := func(h held) bool { return h.leaf != nil && time.Now().After(h.leaf.NotAfter) }
	signs := func(k Key) bool {
		return app.Environment == "auto" || k.Environment == "auto" || k.Environment == app.Environment
	}
	if slices.ContainsFunc(app.Keys, signs) || slices.ContainsFunc(certs, func(h held) bool { return h.leaf != nil && !expired(h) }) {
		for _, h := range certs {
			if h.leaf != nil {
				in.ending(h.path+".file", h.file, h.leaf, "make a new certificate at developer.apple.com, Certificates, and put it into the place of this file")
			}
		}
		return
	}
	for _, h := range certs {
		if expired(h) {
			in.at(h.path+".file", fmt.Sprintf("%s expired on %s, and the app has nothing else to send by", h.file, h.leaf.NotAfter.Format(time.DateOnly)),
				"make a new certificate at developer.apple.com, Certificates")
		}
	}
}

// soon is how long before its end a certificate is worth a warning.
const soon = 30 * 24 * time.Hour

// ending warns of a certificate that has expired or soon does.
func (in *inspector) ending(path, file string, leaf *x509.Certificate, cure string) {
	left := time.Until(leaf.NotAfter)
	switch day := leaf.NotAfter.UTC().Format(time.DateOnly); {
	case left <= 0:
		in.warn(path, file+" expired on "+day, cure)
	case left < soon:
		in.warn(path, fmt.Sprintf("%s expires on %s, in %d days", file, day, int(left.Hours()/24)), cure)
	}
}

// clientCertificate checks a certificate for APNs: readable, with its key, and
// for the topic that it is to be used for (bundle and suffix). Its end is for the
// caller to judge; nil: there is none, or none that could be read.
func (in *inspector) clientCertificate(path string, c Certificate, bundle, suffix string) *x509.Certificate {
	if c.File == "" {
		in.unwanted(path+".password_file", c.PasswordFile, "has no effect without a file")
		return nil
	}
	data, ok := in.readPrivate(path+".file", c.File)
	password, known := in.certificatePassword(path, c.PasswordFile)
	if !ok || !known {
		return nil
	}
	var leaf *x509.Certificate
	if block, _ := pem.Decode(data); block != nil {
		leaf = in.pemCertificate(path, c, data)
	} else {
		leaf = in.p12Certificate(path, c, data, password)
	}
	if leaf == nil {
		return nil
	}
	if topics := pushTopics(leaf); len(topics) > 0 && bundle != "" && !slices.Contains(topics, bundle+suffix) {
		in.at(path+".file", fmt.Sprintf("%s is for %s, not for %s", c.File, strings.Join(topics, ", "), bundle+suffix),
			"check bundle_id, and that the VoIP Services certificate is at voip_certificate, the ordinary one at alert_certificate")
	}
	return leaf
}

// certificatePassword reads the password of a certificate. It may be empty.
func (in *inspector) certificatePassword(path, file string) (password string, ok bool) {
	if file == "" {
		return "", true
	}
	data, ok := in.readPrivate(path+".password_file", file)
	return strings.TrimRight(string(data), "\r\n"), ok
}

// pemCertificate is the certificate of a PEM file with its key.
func (in *inspector) pemCertificate(path string, c Certificate, data []byte) *x509.Certificate {
	if bytes.Contains(data, []byte("ENCRYPTED")) {
		in.at(path+".file", c.File+" has an encrypted key", "name the .p12 file, or decrypt the key by openssl pkey")
		return nil
	}
	if c.PasswordFile != "" {
		in.at(path+".password_file", "is for .p12 files; "+c.File+" is PEM", "remove the key")
		return nil
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		in.at(path+".file", c.File+" holds no certificate with its key: "+strings.TrimPrefix(err.Error(), "tls: "),
			"put certificate and private key into one PEM file, or name the .p12 file")
		return nil
	}
	return pair.Leaf
}

// p12Certificate is the certificate of a .p12 file with its key.
func (in *inspector) p12Certificate(path string, c Certificate, data []byte, password string) *x509.Certificate {
	key, leaf, others, err := pkcs12.DecodeChain(data, password)
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		if c.PasswordFile == "" {
			in.at(path+".password_file", "is missing: "+c.File+" has a password", "write it into a file and name that here")
		} else {
			in.at(path+".password_file", "holds a wrong password for "+c.File, "write the password given at the export into it")
		}
		return nil
	}
	if err != nil {
		in.at(path+".file", c.File+" is no .p12 or .pem file with a certificate and its key", "export the certificate together with its key")
		return nil
	}
	signer, isSigner := key.(crypto.Signer)
	for _, cert := range append([]*x509.Certificate{leaf}, others...) {
		if public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && isSigner && public.Equal(signer.Public()) {
			return cert
		}
	}
	in.at(path+".file", "the key in "+c.File+" is not that of the certificate", "export the certificate together with its key")
	return nil
}

// pushTopics are the topics that a certificate for APNs names: in Apple's
// extension (names, each followed by what it is), else in its subject. None: it
// does not say.
func pushTopics(leaf *x509.Certificate) []string {
	const topicList, userID = "1.2.840.113635.100.6.3.6", "0.9.2342.19200300.100.1.1"
	for _, e := range leaf.Extensions {
		var list []asn1.RawValue
		if e.Id.String() != topicList {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &list); err != nil {
			return nil
		}
		var topics []string
		for _, v := range list {
			if v.Class == asn1.ClassUniversal && v.Tag == asn1.TagUTF8String {
				topics = append(topics, string(v.Bytes))
			}
		}
		return topics
	}
	for _, name := range leaf.Subject.Names {
		if topic, ok := name.Value.(string); ok && name.Type.String() == userID {
			return []string{topic}
		}
	}
	return nil
}
