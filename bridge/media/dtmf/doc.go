// Package dtmf makes and reads telephone events, the keys of a phone as RTP (RFC
// 4733). An Encoder makes the packets of one key, a Detector finds the keys in what
// a stream sends. Neither has a clock or a socket, and neither knows SIP.
//
// What keys a caller presses may be a PIN: an Event prints as "key" and never as
// itself.
package dtmf
