package config

import (
	"net/netip"
	"reflect"
	"time"
)

const day = 24 * time.Hour

// Default is the configuration of an empty file: every scalar at its default,
// listeners on UDP and TCP port 5060, no users, trunks, routes and apps. Each
// call makes a new one.
func Default() *Config {
	return &Config{
		Node: Node{DataDir: "./data"},
		Log:  Log{Level: "info", Format: "auto"},
		Listen: []Listener{
			{Transport: "udp", Bind: netip.AddrPortFrom(netip.IPv4Unspecified(), 5060)},
			{Transport: "tcp", Bind: netip.AddrPortFrom(netip.IPv4Unspecified(), 5060)},
		},
		Network: Network{LocalNet: localNet()},
		Media: Media{
			Bind:     []netip.Addr{netip.IPv4Unspecified()},
			RTPStart: 10000,
			RTPEnd:   20000,
			Allow:    []string{},
			DTMF:     "auto",
			Ringback: "none",
			SRTP:     SRTP{Apps: "optional", Trunks: "off", KeysOver: "tls"},
			Timeout: MediaTimeout{
				FirstPacket: 30 * time.Second, Silence: time.Minute, Hold: 30 * time.Minute,
			},
		},
		Domains: []Domain{},
		Trunks:  []Trunk{},
		Routes:  []Route{},
		Calls: Calls{
			RingTimeout:   50 * time.Second,
			MaxDuration:   4 * time.Hour,
			Decline:       "all",
			DeclineWindow: 28 * time.Second,
			MergeWindow:   2 * time.Second,
			Waiting:       "ring",
			DrainTimeout:  5 * time.Minute,
		},
		Push:    defaultPush(),
		Storage: Storage{Driver: "sqlite"},
		Limits: Limits{
			RegisterPerSource: Rate{Count: 20, Per: time.Second},
			InvitePerSource:   Rate{Count: 50, Per: time.Second},
			WakesPerUser:      Rate{Count: 20, Per: time.Minute},
			WakesPerCaller:    Rate{Count: 6, Per: time.Minute},
			AuthFailures:      AuthFailures{Max: 10, Per: time.Minute, Ban: 15 * time.Minute},
			Connections:       Connections{Total: 20000, UnauthenticatedPerSource: 64},
		},
		Capture: Capture{Calls: "off", Packets: "headers", Keep: 7 * day, MaxBytes: 1 << 30},
		HTTP:    HTTP{Bind: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 8080)},
	}
}

func defaultPush() Push {
	return Push{
		WakeTimeout: 30 * time.Second,
		Ringing:     "on_push",
		Expires:     PushExpires{Min: 10 * time.Minute, Default: 7 * day, Max: 30 * day},
		DeviceTTL:   90 * day,
		AfterExpiry: true,
		SharedToken: "same_instance",
		Apps:        []App{},
		APNs: APNs{
			Production: "https://api.push.apple.com",
			Sandbox:    "https://api.sandbox.push.apple.com",
		},
		FCM: FCM{URL: "https://fcm.googleapis.com"},
	}
}

func localNet() []netip.Prefix {
	v4 := func(bits int, a ...byte) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(a)), bits)
	}
	return []netip.Prefix{
		v4(8, 10, 0, 0, 0), v4(12, 172, 16, 0, 0), v4(16, 192, 168, 0, 0), v4(10, 100, 64, 0, 0),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfc}), 7), v4(8, 127, 0, 0, 0),
	}
}

// entryDefault is what an entry of a list starts from before its keys are laid
// over it; the zero value for a type that is not a list's entry.
func entryDefault(t reflect.Type) reflect.Value {
	var entry any
	switch t {
	case reflect.TypeFor[Domain]():
		entry = Domain{
			Auth: []string{"md5", "sha-256"}, MaxContacts: 5,
			Expires: Expires{Min: time.Minute, Default: time.Hour, Max: 30 * day},
			Users:   []User{},
		}
	case reflect.TypeFor[User]():
		entry = User{Numbers: []string{}}
	case reflect.TypeFor[Trunk]():
		entry = Trunk{Qualify: 30 * time.Second, MaxCalls: 100, ForceRPort: true}
	case reflect.TypeFor[Route]():
		entry = Route{Status: 403}
	case reflect.TypeFor[App]():
		entry = App{Provider: "apns", Environment: "auto", Payload: "wakebridge", CallerName: true, MissedCallAlert: true}
	case reflect.TypeFor[Key]():
		entry = Key{Environment: "auto"}
	default:
		return reflect.Zero(t)
	}
	return reflect.ValueOf(entry)
}
