// Package fcm sends pushes to Android apps by Google's service (Firebase Cloud
// Messaging, HTTP v1): data messages of high priority, which start the app even
// in Doze, and which it may take back by another one (push.Cancel). It signs in
// with a service account by OAuth 2.0 (RFC 7523), tokens by golang.org/x/oauth2.
//
// Its rooms: account (the service account file); access (the access token that
// all pushes share); wire (one request); the rule table (what each of Google's
// errors asks for); sender (retries); service (the apps and their connections).
package fcm
