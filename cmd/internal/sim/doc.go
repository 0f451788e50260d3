// Package sim runs the simulators as commands of their own: an iPhone that any SIP
// server can call and any APNs-shaped service can push to, and that service.
package sim
