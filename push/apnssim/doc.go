// Package apnssim is an APNs provider API that checks requests like Apple's
// and can fail like Apple's, for tests, for demonstrations and for the
// continuous integration of others who send VoIP pushes.
//
// It speaks HTTP/2 over TLS (ALPN h2) on two listeners, one per environment,
// under a CA made at start (Sim.CAPEM). Providers authenticate with a provider
// token, a JWT signed by a key that was registered with Sim.AddKey or made by
// Sim.GenerateKey. A simulated phone is a Device: it registers for device
// tokens, goes offline and online, and receives what was pushed to it.
//
// The rooms: wire*.go is the HTTP/2 connection and knows no push; checks.go
// and jwt.go judge a request; registry.go knows teams, keys, apps and tokens;
// faults.go fails on demand; device.go and mailbox.go deliver; journal.go
// remembers; admin.go offers the same over HTTP.
//
// What Apple does not publish is a choice made here and said so where it is
// made: the order of the checks, the allowance for new provider tokens, the
// rate per device token. Nothing may depend on which of two faults in one
// request is reported.
//
// Not built yet: certificate authentication (its place: authority.serverConfig
// and checkProviderToken), a websocket for phones (admin.go), and reordered,
// duplicated, lost and late deliveries (mailbox.go).
package apnssim
