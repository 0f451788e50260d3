// Package srtp protects RTP and RTCP (RFC 3711, RFC 7714) with keys that the two
// ends told each other in SDP (RFC 4568). The transform is pion/srtp's; here is what
// a relay needs around it: a Receiver that refuses what is forged, repeated or from
// too many senders, and a Sender that never uses a key twice for one packet index,
// whatever the far leg sends.
package srtp
