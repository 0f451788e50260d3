package config

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"strconv"
)

// androidApp checks an app of Google's push service.
func (in *inspector) androidApp(app App, path string) {
	in.foreign(path, "apns", "bundle_id", "team_id", "environment", "keys", "voip_certificate", "alert_certificate",
		"payload", "alert_repeat", "missed_call_alert")
	if in.needed(path+".project_id", app.ProjectID, "FCM must be told whose app it is") &&
		!regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{3,99}$`).MatchString(app.ProjectID) {
		in.at(path+".project_id", strconv.Quote(app.ProjectID)+" is not a Firebase project ID",
			"copy it from the Firebase console, Project settings: the ID, not the name or number")
	}
	if in.needed(path+".service_account_file", app.ServiceAccountFile, "nothing could sign in to send for the project") {
		in.serviceAccount(path+".service_account_file", app.ServiceAccountFile)
	}
}

// foreign reports keys of another provider's apps.
func (in *inspector) foreign(path, provider string, keys ...string) {
	for _, key := range keys {
		if _, given := in.places[path+"."+key]; given {
			in.at(path+"."+key, "is for apps of provider "+provider+" only", "remove the key, or write provider: "+provider)
		}
	}
}

// serviceAccount reads the key of a service account as Google gives it out.
// Whoever has it can push to every user of the app, hence the mode.
func (in *inspector) serviceAccount(path, file string) {
	data, ok := in.read(path, file)
	if !ok {
		return
	}
	if info, err := os.Stat(file); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		in.at(path, fmt.Sprintf("%s may be read by others than its owner (mode %04o)", file, info.Mode().Perm()),
			"chmod 600 "+file)
		return
	}
	const cure = "name the JSON file from the Firebase console: Project settings, Service accounts, Generate new private key"
	var account struct {
		Type       string `json:"type"`
		PrivateKey string `json:"private_key"`
		Email      string `json:"client_email"`
		TokenURI   string `json:"token_uri"`
	}
	if json.Unmarshal(data, &account) != nil { // its error may quote the key
		in.at(path, file+" is not a JSON file", cure)
		return
	}
	endpoint, err := url.Parse(account.TokenURI)
	switch {
	case account.Type != "service_account":
		in.at(path, file+" is not the key of a service account", cure)
	case account.Email == "":
		in.at(path, file+" has no client_email", cure)
	case !isRSAKey(account.PrivateKey):
		in.at(path, file+" holds no RSA private_key", cure)
	case err != nil || endpoint.Scheme != "https" || endpoint.Hostname() == "" || endpoint.User != nil:
		in.at(path, file+" has no token_uri that is an https URL", cure)
	}
}

// isRSAKey says whether text is an RSA private key in PEM, PKCS #1 or #8.
func isRSAKey(text string) bool {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return false
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return true
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	_, isRSA := key.(*rsa.PrivateKey)
	return err == nil && isRSA
}
