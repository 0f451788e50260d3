package sdp

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pion "github.com/pion/sdp/v3"
)

// corpus is testdata by name, with lines that end in CRLF.
func corpus(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.sdp")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string, len(files))
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".sdp")
		text := strings.ReplaceAll(load(t, name), "\r\n", "\n")
		all[name] = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return all
}

// exchanges are the answers in testdata with their offers.
func exchanges(t testing.TB) map[string][2]string {
	t.Helper()
	all, pairs := corpus(t), make(map[string][2]string)
	for name, answer := range all {
		if about, _, found := strings.Cut(name, "-answer-"); found {
			pairs[name] = [2]string{all[about+"-offer"], answer}
		}
	}
	if len(pairs) < 25 {
		t.Fatalf("only %d exchanges", len(pairs))
	}
	return pairs
}

// crossing says what may cross, of a line that is not c=, m= or o=, and not a=rtcp or
// one of keys of ours. It is written by what the standards say of each name, beside
// the editor's own list.
func crossing(line string, secure, mux bool) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
	switch {
	case line[0] == 'k':
		return false
	case line[0] != 'a':
		return true
	case strings.HasPrefix(name, "ice-"), strings.HasSuffix(name, "candidates"), strings.HasPrefix(name, "msid"), strings.HasPrefix(name, "oldmediaip"):
		return false
	case strings.HasPrefix(name, "ssrc"):
		return !secure
	case strings.HasPrefix(name, "rtcp-mux"):
		return mux
	}
	return !slices.Contains(strings.Fields("candidate fingerprint setup group mid bundle-only crypto key-mgmt direction altc source-filter "+
		"sqn cdsc cpar csup creq acap tcap pcfg rmcap nortpproxy rtpengine"), name)
}

// addresses are where a description says that its author is, but for those of hold.
func addresses(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "a=ssrc") {
			continue // a CNAME is a name
		}
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \r\n[]/", r) }) {
			_, after, _ := strings.Cut(word, ":") // a=candidate:..., a=oldmediaip:...
			for _, w := range []string{word, after} {
				if a, err := netip.ParseAddr(w); err == nil && !a.IsUnspecified() {
					all = append(all, w)
				}
			}
		}
	}
	return all
}

// relays are the ways in which a description may go on.
func relays() []Relay {
	ours := Crypto{Tag: 7, Suite: "AEAD_AES_256_GCM", Secret: []byte(ourSecret)}
	var all []Relay
	for _, addr := range []netip.Addr{relay4, relay6} {
		for _, mux := range []bool{false, true} {
			r := Relay{Addr: addr, Mux: mux, Ports: []uint16{20000, 20002, 20004, 20006}}
			all = append(all, r)
			r.Crypto = [][]Crypto{{ours}, {ours}, {ours}, {ours}}
			all = append(all, r)
		}
	}
	return all
}

// Everything in testdata is read, comes back as it was, and goes on in every way with
// all that may cross, in order, and nothing else.
func TestCorpus(t *testing.T) {
	for name, text := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			in := parse(t, text)
			whole := text
			if name == "odd" { // it asks for two port pairs
				whole = strings.Replace(text, "4000/2", "4000", 1)
			}
			if got := string(in.Bytes()); got != whole {
				t.Errorf("comes back as\n%s", got)
			}
			for _, r := range relays() {
				out, err := in.Relay(r)
				refused := name == "browser" || strings.Contains(name, "dtls") || name == "odd" && len(r.Crypto) > 0
				if refused != errors.Is(err, ErrSRTP) || !refused && err != nil {
					t.Fatalf("relayed: %v", err)
				}
				if err == nil {
					checkCrossing(t, text, in, out, r)
				}
			}
		})
	}
}

// checkCrossing holds what went on against what came.
func checkCrossing(t *testing.T, text string, in, out *Description, r Relay) {
	t.Helper()
	printed := string(out.Bytes())
	crossed := addresses(printed)
	for _, a := range addresses(text) {
		if slices.Contains(crossed, a) {
			t.Errorf("%s crossed:\n%s", a, printed)
		}
	}
	for _, secret := range []string{"HAND", "inline:d0Rm", "alice", "anna "} {
		if strings.Contains(printed, secret) {
			t.Errorf("%s crossed:\n%s", secret, printed)
		}
	}
	again := parse(t, printed)
	if len(again.media) != len(in.media) {
		t.Fatalf("%d m-lines of %d", len(again.media), len(in.media))
	}
	if got, want := plainLines(again.session, false, false), plainLines(in.session, true, false); !isWithin(want, got) {
		t.Errorf("session %q became %q", want, got)
	}
	for i, from := range in.media {
		to := again.media[i]
		if to.kind != from.kind || from.port == 0 && (to.port != 0 || len(to.lines) > 0) || from.port != 0 && to.port != r.Ports[i] {
			t.Errorf("%s became %s", from.line(), to.line())
		}
		if !slices.Equal(to.formats, from.formats) {
			t.Errorf("formats %v became %v", from.formats, to.formats)
		}
		keyed := len(r.Crypto) > 0 || strings.Contains(strings.Join(from.lines, "\n"), "a=crypto")
		if want, got := plainLines(from.lines, keyed, r.Mux), plainLines(to.lines, false, true); from.port != 0 && !slices.Equal(got, want) {
			t.Errorf("%s\n  %q became\n  %q", from.line(), want, got)
		}
		checkWhere(t, in.Streams()[i], again.Streams()[i], r)
	}
	var p pion.SessionDescription
	if p.UnmarshalString(text) == nil { // what is out of order stays so
		askPion(t, again)
	}
}

// plainLines are those that may cross unchanged.
func plainLines(lines []string, secure, mux bool) []string {
	var kept []string
	for _, l := range lines {
		name, _, _ := strings.Cut(l, ":")
		if l[0] != 'c' && l[0] != 'o' && name != "a=rtcp" && crossing(l, secure, mux) {
			kept = append(kept, l)
		}
	}
	return kept
}

// isWithin says that all of some are in all, in their order.
func isWithin(some, all []string) bool {
	for _, l := range all {
		if len(some) > 0 && l == some[0] {
			some = some[1:]
		}
	}
	return len(some) == 0
}

// checkWhere checks address and hold of a stream that went on: both are in our
// family.
func checkWhere(t *testing.T, was, is Stream, r Relay) {
	t.Helper()
	if !was.Active() {
		return
	}
	if is.Addr.Is4() != r.Addr.Is4() || is.Addr != r.Addr && !is.Addr.IsUnspecified() {
		t.Errorf("sent to %v", is.Addr)
	}
	if is.Held() != was.Held() || is.Direction != was.Direction || is.unspecified() != was.unspecified() {
		t.Errorf("held %v by %v, %v; was %v by %v, %v", is.Held(), is.Addr, is.Direction, was.Held(), was.Addr, was.Direction)
	}
	if secure := was.IsRTP() && len(r.Crypto) > 0; is.IsSecure() != secure || secure != (len(is.Crypto) == 1) {
		t.Errorf("%s with %d keys", is.Proto, len(is.Crypto))
	}
	if want := was.RTCPMux && r.Mux; is.RTCPMux != want {
		t.Errorf("mux %v", is.RTCPMux)
	}
}

// What programs answer to each other is an answer, as it came and after it went
// through us; with an m-line less, one more, or in another order it is none.
func TestExchanges(t *testing.T) {
	for name, pair := range exchanges(t) {
		t.Run(name, func(t *testing.T) {
			offer, answer := parse(t, pair[0]), parse(t, pair[1])
			if _, err := Answers(offer, answer); err != nil {
				t.Error(err)
			}
			wrong := map[string]*Description{"less": answer.clone(), "more": answer.clone(), "turned": answer.clone()}
			wrong["less"].media = wrong["less"].media[1:]
			wrong["more"].media = append(wrong["more"].media, refused(wrong["more"].media[0]))
			slices.Reverse(wrong["turned"].media)
			for what, d := range wrong {
				turned := what == "turned" && isPalindrome(offer)
				if _, err := Answers(offer, d); !turned && !errors.Is(err, ErrNotAnAnswer) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if strings.Contains(name, "dtls") {
				return // refused before
			}
			for _, r := range relays() {
				sent, err := offer.Relay(r)
				if err != nil {
					t.Fatal(err)
				}
				back, err := answer.Relay(r)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Answers(sent, back); err != nil {
					t.Errorf("after the relay: %v\n%s\n%s", err, sent, back)
				}
				if _, err := Answers(offer.As(sent), answer.As(back)); err != nil {
					t.Errorf("across the relay: %v", err)
				}
				narrow, err := Restrict(offer, back)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Answers(narrow, answer); err != nil {
					t.Errorf("to what was restricted to it: %v", err)
				}
			}
		})
	}
}

// isPalindrome says that the m-lines are of the same types from both ends.
func isPalindrome(d *Description) bool {
	for i, m := range d.media {
		if m.kind != d.media[len(d.media)-1-i].kind {
			return false
		}
	}
	return true
}

// What an editor may meet next to what it knows, in all files: as text that ends
// anywhere, a line less, or a line twice, it is read or refused, and goes on or not,
// but never by a panic, nor with an address of its author's.
func TestCorpusSpoilt(t *testing.T) {
	for name, text := range corpus(t) {
		all := slices.Collect(strings.Lines(text))
		var spoilt []string
		for i := range all {
			spoilt = append(spoilt, strings.Join(slices.Delete(slices.Clone(all), i, i+1), ""), strings.Join(slices.Insert(slices.Clone(all), i, all[i]), ""))
		}
		for n := 0; n < len(text); n += 7 {
			spoilt = append(spoilt, text[:n])
		}
		for _, s := range spoilt {
			d, err := Parse([]byte(s))
			if err != nil {
				continue
			}
			for _, r := range relays()[:2] {
				out, err := d.Relay(r)
				if err != nil {
					continue
				}
				for i, st := range parse(t, string(out.Bytes())).Streams() {
					if st.Active() && st.Addr != r.Addr && !st.Addr.IsUnspecified() {
						t.Errorf("%s: stream %d goes to %v", name, i, st.Addr)
					}
				}
			}
		}
	}
}
