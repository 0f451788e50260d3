// Package sipua carries SIP messages: flows over UDP, TCP and TLS, ordered
// dispatch, validation and transactions.
//
// From sipgo it takes the message model, the parser and the transaction state
// machines. Transports and dispatch are its own, because a bridge needs what
// sipgo's do not give: one order per flow, no blocking on a peer, a CANCEL that
// finds the INVITE right in front of it, and a connection that outlives a
// message which does not parse.
//
// An Endpoint owns the listeners and the flows. Whatever arrives on a flow is
// validated and posted, in the order of arrival, to whoever owns it: the Dialog
// that was added for its Call-ID and tag, the ClientTx that waits for it, or the
// Handler for everything that begins something new. All three are called in the
// flow's read loop and must only post.
package sipua
