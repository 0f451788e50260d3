package sim

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"wakebridge/push/apnssim"
)

// folder is where the run's secrets lie, readable by its user only.
type folder struct {
	path      string
	temporary bool
	ca, key   string
	// password is the file with the password of the .p12 files; "": there are none.
	password     string
	certificates []certificateFiles
}

// certificateFiles are one certificate in both forms.
type certificateFiles struct {
	Bundle string       `json:"bundle_id"`
	Kind   apnssim.Kind `json:"kind"`
	PEM    string       `json:"pem_file"`
	P12    string       `json:"p12_file"`
}

func newFolder(path string) (*folder, error) {
	if path == "" {
		path, err := os.MkdirTemp("", "wakebridge-apns-")
		return &folder{path: path, temporary: true, certificates: []certificateFiles{}}, err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return &folder{path: path, certificates: []certificateFiles{}}, os.MkdirAll(path, 0o700)
}

// remove removes a temporary folder; another one stays, with its files.
func (f *folder) remove() error {
	if !f.temporary {
		return nil
	}
	return os.RemoveAll(f.path)
}

// fill makes the credentials and writes them.
func (f *folder) fill(s *apnssim.Sim, apps APNsApps) error {
	p8, err := s.GenerateKey(apps.TeamID, apps.KeyID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAPNsOption, err)
	}
	if f.ca, err = f.write("apns-ca.pem", s.CAPEM()); err != nil {
		return err
	}
	if f.key, err = f.write("AuthKey_"+apps.KeyID+".p8", p8); err != nil {
		return err
	}
	if !apps.Certificates {
		return nil
	}
	password := rand.Text()
	if f.password, err = f.write("p12-password", []byte(password)); err != nil {
		return err
	}
	for _, bundle := range apps.Bundles {
		for _, kind := range []apnssim.Kind{apnssim.VoIP, apnssim.Alert} {
			if err := f.certificate(s, apps.TeamID, certificateFiles{Bundle: bundle, Kind: kind}, password); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *folder) certificate(s *apnssim.Sim, teamID string, c certificateFiles, password string) error {
	issued, err := s.IssueCertificate(teamID, c.Bundle, c.Kind, "")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAPNsOption, err)
	}
	p12, err := issued.P12(password)
	if err != nil {
		return err
	}
	name := string(c.Kind) + "-" + c.Bundle
	if c.PEM, err = f.write(name+".pem", issued.PEM); err != nil {
		return err
	}
	if c.P12, err = f.write(name+".p12", p12); err != nil {
		return err
	}
	f.certificates = append(f.certificates, c)
	return nil
}

// write makes a new file in place of one from an earlier run, so that neither
// its permissions nor a link that lies there matter.
func (f *folder) write(name string, content []byte) (string, error) {
	path := filepath.Join(f.path, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	return path, errors.Join(err, file.Close())
}
