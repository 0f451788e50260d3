// Package apns sends pushes by Apple's push service (APNs): HTTP/2 with a
// provider token made from a .p8 key. It uses apns2 for the shape of requests
// and provider tokens, over connections of its own: apns2 cannot send
// "apns-expiration: 0", needs 30 s to notice a dead connection, and retries
// nothing.
//
// Its rooms: key and provider token; line (one warm connection); wire (one
// request); the rule table (what each of Apple's reasons asks for); attempt
// and sender (hedge, retries, environments).
package apns
