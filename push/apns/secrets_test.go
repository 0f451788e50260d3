package apns_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
)

// TestSecretsStayInside runs into every fault with the log wide open, and looks
// for keys, provider tokens and device tokens in all that comes out: log,
// results, metrics, profiles.
func TestSecretsStayInside(t *testing.T) {
	folder := t.TempDir()
	inWorld(t, nil, func(t *testing.T, w *world) {
		must(t, w.service.Close())
		p8, err := w.GenerateKey(team, keyID)
		must(t, err)
		path := filepath.Join(folder, "AuthKey.p8")
		must(t, os.WriteFile(path, p8, 0o600))
		key, err := apns.LoadKey(path, keyID)
		must(t, err)
		w.metrics = prometheus.NewRegistry()
		w.config.Metrics, w.config.Apps[0].Keys = w.metrics, []apns.Key{key}
		w.start()
		d := w.dispatcher()
		var out strings.Builder
		for _, a := range []apnssim.Action{
			{Fault: apnssim.Respond, Status: 400, Reason: "BadTopic"}, {Fault: apnssim.Respond, Status: 410, Reason: "Unregistered"},
			{Fault: apnssim.Respond, Status: 403, Reason: "InvalidProviderToken"}, {Fault: apnssim.Respond, Status: 403, Reason: "ExpiredProviderToken"},
			{Fault: apnssim.Respond, Status: 413, Reason: "PayloadTooLarge"}, {Fault: apnssim.Respond, Status: 429, Reason: "TooManyProviderTokenUpdates"},
			{Fault: apnssim.Respond, Status: 503, Reason: "ServiceUnavailable"}, {Fault: apnssim.Reset}, {Fault: apnssim.Cut},
			{Fault: apnssim.Hang}, {Fault: apnssim.Blackhole}, {Fault: apnssim.GoAway, Reason: "Shutdown"},
		} {
			w.ClearFaults()
			w.fault(apnssim.Match{}, a)
			for range 2 {
				r := w.ask(d, w.request())
				fmt.Fprintf(&out, "%v %+v %#v\n", r, r, r)
			}
			time.Sleep(time.Hour)
		}
		must(t, os.WriteFile(path, p8[:len(p8)/2], 0o600))
		time.Sleep(time.Minute)
		must(t, w.Close()) // nobody there
		fmt.Fprintf(&out, "%+v\n", w.ask(d, w.request()))
		fmt.Fprintf(&out, "%+v\n", w.sender.Send(t.Context(), push.Target{Token: w.voip + "é"}, call(uuid.NewString())))
		_, err = apns.New(w.config)
		fmt.Fprintf(&out, "%+v %+v %#v\n", err, w.config.Apps, w.config.Apps)
		out.WriteString(w.log.String())
		families, err := w.metrics.Gather()
		must(t, err)
		for _, f := range families {
			_, err := expfmt.MetricFamilyToText(&out, f)
			must(t, err)
		}
		for _, profile := range pprof.Profiles() {
			for debug := range 3 {
				var b bytes.Buffer
				must(t, profile.WriteTo(&b, debug))
				out.Write(b.Bytes())
			}
		}
		block, _ := pem.Decode(p8)
		secrets := append(w.bearers(), w.voip.Secret(), w.alert.Secret(),
			base64.StdEncoding.EncodeToString(block.Bytes)[:60], fmt.Sprintf("%x", block.Bytes)[80:140], string(block.Bytes[40:60]))
		if len(secrets) < 8 || len(out.String()) < 50_000 {
			t.Fatalf("%d secrets, %d bytes: nothing was tried", len(secrets), out.Len())
		}
		for _, secret := range secrets {
			if secret = strings.TrimPrefix(secret, "bearer "); strings.Contains(out.String(), secret) {
				t.Errorf("a secret came out: %.6s…", secret)
			}
		}
	})
}
