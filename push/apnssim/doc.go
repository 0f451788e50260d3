// Package apnssim is an APNs provider API that checks requests like Apple's
// and can fail like Apple's, for tests, for demonstrations and for the
// continuous integration of others who send VoIP pushes.
//
// It speaks HTTP/2 over TLS (ALPN h2) on two listeners, one per environment,
// under a CA made at start (Sim.CAPEM). Providers authenticate with a provider
// token, a JWT signed by a key that was registered with Sim.AddKey or made by
// Sim.GenerateKey, or with a client certificate from Sim.IssueCertificate. A
// simulated phone is a Device: it registers for device tokens, goes offline and
// online, and receives what was pushed to it; a phone in another process does
// the same by a Client of Sim.AdminHandler.
//
// The rooms: wire*.go and idle.go are the HTTP/2 connection and know no push;
// checks.go, jwt.go and certificate.go judge a request; registry.go knows teams,
// keys, apps and tokens; faults.go fails on demand; device.go, mailbox.go and
// network.go deliver; journal.go and stats.go remember; admin*.go offers the
// same over HTTP, and client.go uses it.
//
// What Apple does not publish is a choice made here and said so where it is
// made: the order of the checks, the allowance for new provider tokens, the
// rate per device token, the number of PINGs. Nothing may depend on which of two
// faults in one request is reported.
package apnssim
