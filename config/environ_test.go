package config

import (
	"errors"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const twoTrunks = `
domains:
  - name: sip.example.com
    users:
      - { name: alice, password: a, numbers: ["201"] }
      - { name: j.doe, password: b }
trunks:
  - { name: asterisk, kind: peer, match: ["10.0.0.5"], contact: "sip:10.0.0.5" }
  - { name: far-end, kind: peer, match: ["10.0.0.6"], contact: "sip:10.0.0.6" }
limits: { connections: off }
`

func TestVariablesOverrideKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	writeFile(t, path, twoTrunks, 0o600)
	cases := map[string]struct {
		environ []string
		get     func(*Config) any
		want    any
	}{
		"scalar": {
			[]string{"WAKEBRIDGE_PUSH_WAKE_TIMEOUT=20s"},
			func(c *Config) any { return c.Push.WakeTimeout }, 20 * time.Second,
		},
		"nested section that the file lacks": {
			[]string{"WAKEBRIDGE_PUSH_EXPIRES_DEFAULT=1d12h"},
			func(c *Config) any { return c.Push.Expires.Default }, 36 * time.Hour,
		},
		"number": {
			[]string{"WAKEBRIDGE_MEDIA_RTP_START=12000"},
			func(c *Config) any { return c.Media.RTPStart }, 12000,
		},
		"truth value": {
			[]string{"WAKEBRIDGE_PUSH_AFTER_EXPIRY=FALSE"},
			func(c *Config) any { return c.Push.AfterExpiry }, false,
		},
		"rate": {
			[]string{"WAKEBRIDGE_LIMITS_WAKES_PER_USER=off"},
			func(c *Config) any { return c.Limits.WakesPerUser }, Rate{},
		},
		"empty": {
			[]string{"WAKEBRIDGE_NODE_ID="},
			func(c *Config) any { return c.Node.ID }, "",
		},
		"entry by index": {
			[]string{"WAKEBRIDGE_TRUNKS_1_CONTACT=sip:10.9.9.9"},
			func(c *Config) any { return c.Trunks[1].Contact }, "sip:10.9.9.9",
		},
		"entry by name": {
			[]string{"WAKEBRIDGE_TRUNKS_ASTERISK_CONTACT=sip:10.9.9.9"},
			func(c *Config) any { return c.Trunks[0].Contact }, "sip:10.9.9.9",
		},
		"entry by a name with a dash": {
			[]string{"WAKEBRIDGE_TRUNKS_FAR_END_MAX_CALLS=7"},
			func(c *Config) any { return c.Trunks[1].MaxCalls }, 7,
		},
		"entry in an entry, by names with dots": {
			[]string{"WAKEBRIDGE_DOMAINS_SIP_EXAMPLE_COM_USERS_J_DOE_PASSWORD=x"},
			func(c *Config) any { return c.Domains[0].Users[1].Password.Reveal() }, "x",
		},
		"digits stay text": {
			[]string{"WAKEBRIDGE_DOMAINS_0_USERS_ALICE_PASSWORD=0100"},
			func(c *Config) any { return c.Domains[0].Users[0].Password.Reveal() }, "0100",
		},
		"value with an equals sign": {
			[]string{"WAKEBRIDGE_DOMAINS_0_USERS_0_PASSWORD=a=b"},
			func(c *Config) any { return c.Domains[0].Users[0].Password.Reveal() }, "a=b",
		},
		"list of values": {
			[]string{"WAKEBRIDGE_TRUNKS_0_MATCH=10.1.0.0/16, 10.2.0.1"},
			func(c *Config) any { return c.Trunks[0].Match },
			[]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.1/32")},
		},
		"element of a list": {
			[]string{"WAKEBRIDGE_DOMAINS_0_USERS_0_NUMBERS_1=+4930"},
			func(c *Config) any { return c.Domains[0].Users[0].Numbers }, []string{"201", "+4930"},
		},
		"element of a default list": {
			[]string{"WAKEBRIDGE_DOMAINS_0_AUTH_1=md5", "WAKEBRIDGE_DOMAINS_0_AUTH_0=sha-256"},
			func(c *Config) any { return c.Domains[0].Auth }, []string{"sha-256", "md5"},
		},
		"empty list": {
			[]string{"WAKEBRIDGE_NETWORK_LOCAL_NET="},
			func(c *Config) any { return len(c.Network.LocalNet) }, 0,
		},
		"entry of a default list": {
			[]string{"WAKEBRIDGE_LISTEN_1_BIND=127.0.0.1:5070"},
			func(c *Config) any { return c.Listen },
			[]Listener{
				{Transport: "udp", Bind: netip.MustParseAddrPort("0.0.0.0:5060")},
				{Transport: "tcp", Bind: netip.MustParseAddrPort("127.0.0.1:5070")},
			},
		},
		"new entry, and a key of it by its name": {
			[]string{
				"WAKEBRIDGE_TRUNKS_2_NAME=aaa", "WAKEBRIDGE_TRUNKS_2_KIND=peer", "WAKEBRIDGE_TRUNKS_2_MATCH_0=10.0.0.7",
				"WAKEBRIDGE_TRUNKS_2_CONTACT=sip:10.0.0.7", "WAKEBRIDGE_TRUNKS_AAA_QUALIFY=1m",
			},
			func(c *Config) any { return c.Trunks[2] },
			Trunk{
				Name: "aaa", Kind: "peer", Match: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32")},
				Contact: "sip:10.0.0.7", Qualify: time.Minute, MaxCalls: 100, ForceRPort: true,
			},
		},
		"section off": {
			[]string{"WAKEBRIDGE_LIMITS_AUTH_FAILURES=off"},
			func(c *Config) any { return c.Limits.AuthFailures },
			AuthFailures{Max: 0, Per: time.Minute, Ban: 15 * time.Minute},
		},
		"section that the file switched off": {
			[]string{"WAKEBRIDGE_LIMITS_CONNECTIONS_TOTAL=5"},
			func(c *Config) any { return c.Limits.Connections }, Connections{Total: 5, UnauthenticatedPerSource: 64},
		},
		"the last of two": {
			[]string{"WAKEBRIDGE_NODE_ID=a", "WAKEBRIDGE_NODE_ID=b"},
			func(c *Config) any { return c.Node.ID }, "b",
		},
		"others are not ours": {
			[]string{"WAKEBRIDGER=1", "wakebridge_x=1", "HOME=/", "WAKEBRIDGE=1"},
			func(c *Config) any { return c.Node.ID }, "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.get(mustLoad(t, path, c.environ...)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestBadVariables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	writeFile(t, path, twoTrunks, 0o600)
	cases := map[string]struct {
		environ []string
		want    string // the first fault, and its cure
	}{
		"misspelt": {
			[]string{"WAKEBRIDGE_PUSH_WAKE_TIMOUT=20s"},
			"environment: WAKEBRIDGE_PUSH_WAKE_TIMOUT: names no key | did you mean WAKEBRIDGE_PUSH_WAKE_TIMEOUT?",
		},
		"lower case": {
			[]string{"WAKEBRIDGE_node_id=a"},
			"environment: WAKEBRIDGE_node_id: names no key | did you mean WAKEBRIDGE_NODE_ID?",
		},
		"scalar on a section": {
			[]string{"WAKEBRIDGE_PUSH=oops"},
			"environment: WAKEBRIDGE_PUSH: names the section push, which is not a single value | name a key beneath it, or unset the variable",
		},
		"scalar on an entry": {
			[]string{"WAKEBRIDGE_TRUNKS_0=oops"},
			"environment: WAKEBRIDGE_TRUNKS_0: names the section trunks[0], which is not a single value | name a key beneath it, or unset the variable",
		},
		"scalar on the list of entries": {
			[]string{"WAKEBRIDGE_TRUNKS=oops"},
			"environment: WAKEBRIDGE_TRUNKS: names the section trunks, which is not a single value | name a key beneath it, or unset the variable",
		},
		"on, where only off is a word": {
			[]string{"WAKEBRIDGE_LIMITS_CONNECTIONS=on"},
			"environment: WAKEBRIDGE_LIMITS_CONNECTIONS: names the section limits.connections, which is not a single value | name a key beneath it, or unset the variable",
		},
		"Kubernetes": {
			[]string{"WAKEBRIDGE_PORT_5060_TCP_ADDR=10.0.0.1"},
			"environment: WAKEBRIDGE_PORT_5060_TCP_ADDR: names no key | unset it; if Kubernetes made it, set enableServiceLinks: false for the pod",
		},
		"not built yet": {
			[]string{"WAKEBRIDGE_HTTP_DASHBOARD=true"},
			"environment: WAKEBRIDGE_HTTP_DASHBOARD: http.dashboard is not built yet in this version | unset the variable",
		},
		"not built yet, in an entry": {
			[]string{"WAKEBRIDGE_TRUNKS_ASTERISK_REGISTRAR=sip:a"},
			"environment: WAKEBRIDGE_TRUNKS_ASTERISK_REGISTRAR: trunks[].registrar is not built yet in this version | unset the variable",
		},
		"no unit": {
			[]string{"WAKEBRIDGE_PUSH_WAKE_TIMEOUT=20"},
			"environment: WAKEBRIDGE_PUSH_WAKE_TIMEOUT: push.wake_timeout: 20 has no unit | write 20s if seconds are meant; units are ms, s, m, h and d",
		},
		"empty duration": {
			[]string{"WAKEBRIDGE_PUSH_WAKE_TIMEOUT="},
			`environment: WAKEBRIDGE_PUSH_WAKE_TIMEOUT: push.wake_timeout: "" is not a duration | write for example 30s, 5m, 1h30m or 7d`,
		},
		"octal": {
			[]string{"WAKEBRIDGE_MEDIA_RTP_START=010000"},
			`environment: WAKEBRIDGE_MEDIA_RTP_START: media.rtp_start: "010000" is not a whole number | write decimal digits only`,
		},
		"gap": {
			[]string{"WAKEBRIDGE_TRUNKS_3_NAME=x"},
			"environment: WAKEBRIDGE_TRUNKS_3_NAME: trunks[3].name: the list has 2 so far, so that the next index is 2 | number the entries without a gap",
		},
		"index out of all bounds": {
			[]string{"WAKEBRIDGE_TRUNKS_99999999999999999999_NAME=x"},
			"environment: WAKEBRIDGE_TRUNKS_99999999999999999999_NAME: names no key | unset it; names are the keys' paths, for example WAKEBRIDGE_PUSH_WAKE_TIMEOUT",
		},
		"half an entry": {
			[]string{"WAKEBRIDGE_ROUTES_0_NAME=x"},
			"environment: WAKEBRIDGE_ROUTES_0_NAME: routes[0].match: is missing | add match to this entry",
		},
		"rule over keys": {
			[]string{"WAKEBRIDGE_PUSH_WAKE_TIMEOUT=5m"},
			"environment: WAKEBRIDGE_PUSH_WAKE_TIMEOUT: push.wake_timeout: push.wake_timeout (5m) is not shorter than calls.ring_timeout (50s), which contains it | leave the user time to answer, for example wake_timeout: 30s and ring_timeout: 50s",
		},
		"secret stays secret": {
			[]string{"WAKEBRIDGE_DOMAINS_0_USERS_0_HA1_MD5=hunter2"},
			"environment: WAKEBRIDGE_DOMAINS_0_USERS_0_HA1_MD5: domains[0].users[0].ha1_md5: is given beside a password, which stands for every algorithm | keep one of the two",
		},
		"control character": {
			[]string{"WAKEBRIDGE_NODE_ID=a\nb"},
			"environment: WAKEBRIDGE_NODE_ID: node.id: holds a control character | remove tabs, line ends and the like",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg, err := Load(path, c.environ)
			var report *Report
			if !errors.As(err, &report) || cfg != nil {
				t.Fatalf("loaded: %v, %v", cfg, err)
			}
			f := report.Faults[0]
			if got := f.String() + " | " + f.Cure; got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if f.Line != 0 || f.Column != 0 {
				t.Errorf("a variable has no line: %+v", f)
			}
			if text := explain(t, err); strings.Contains(text, "hunter2") {
				t.Errorf("the secret is told: %s", text)
			}
		})
	}
}

// Two names that are one variable: the name cannot decide, the index can.
func TestAmbiguousNameOfAnEntry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	writeFile(t, path, strings.ReplaceAll(twoTrunks, "asterisk", "far.end"), 0o600)
	_, err := Load(path, []string{"WAKEBRIDGE_TRUNKS_FAR_END_CONTACT=sip:10.9.9.9"})
	var report *Report
	if !errors.As(err, &report) || len(report.Faults) != 1 ||
		report.Faults[0].Problem != "could mean trunks[0].contact or trunks[1].contact" {
		t.Fatalf("got %v", err)
	}
	cfg := mustLoad(t, path, "WAKEBRIDGE_TRUNKS_1_CONTACT=sip:10.9.9.9")
	if cfg.Trunks[1].Contact != "sip:10.9.9.9" || cfg.Trunks[0].Contact != "sip:10.0.0.5" {
		t.Errorf("got %+v", cfg.Trunks)
	}
}

// Every scalar key has a variable that reaches it.
func TestEveryScalarHasAVariable(t *testing.T) {
	s := schema{}
	s.walk(reflect.TypeFor[Config](), "", func(pattern string, f field) {
		if f.shape == section || f.shape == entries {
			return
		}
		name := variableName(strings.ReplaceAll(pattern, "[]", ".0"))
		found := newFindings("test")
		overlay := newOverlay(mappingNode(), found)
		if !overlay.set(variablePrefix+name, "x") || len(found.faults) != 0 {
			t.Errorf("%s: %s does not reach it: %v", pattern, name, found.faults)
		}
	})
}

func TestVariablesInNaturalOrder(t *testing.T) {
	var environ []string
	for i := range 12 {
		digits := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}[i]
		environ = append(environ, "WAKEBRIDGE_NETWORK_LOCAL_NET_"+digits+"=10.0."+digits+".0/24")
	}
	cfg := mustLoad(t, "", environ...)
	if len(cfg.Network.LocalNet) != 12 || cfg.Network.LocalNet[11] != netip.MustParsePrefix("10.0.11.0/24") {
		t.Errorf("got %v", cfg.Network.LocalNet)
	}
}
