package pushtest

import "wakebridge/push"

// curesFCM says what to do about each reason of Google's table ("ErrorCode" of
// FCM's HTTP v1 API), and about those of our own that cures tells for APNs.
func curesFCM() map[push.Reason]string {
	const (
		account = "see in the Google Cloud console that the service account of service_account_file may send for project_id (Firebase Cloud Messaging API), and that its key was not revoked; set this machine's clock (timedatectl)"
		again   = "try again in a minute; if it stays, look at Firebase's status page"
		quota   = "wait some minutes: too many pushes were sent; if it stays, look at the quota of the Firebase Cloud Messaging API in the Google Cloud console"
		reach   = "see whether DNS and firewall let this server reach fcm.googleapis.com and oauth2.googleapis.com on TCP port 443"
	)
	return map[push.Reason]string{
		"UNREGISTERED":           "open the app once, so that it announces its new token; if it was removed, install it again",
		"INVALID_ARGUMENT":       "see that the app announces its FCM registration token as it is, and open the app once; if it stays, please report it with the server's log",
		"SENDER_ID_MISMATCH":     "see that project_id in push.apps is that of the app's google-services.json; then open the app once",
		"THIRD_PARTY_AUTH_ERROR": "see that the token is an Android app's: an iPhone is pushed to by an app of provider apns",
		"PERMISSION_DENIED":      account,
		"NOT_FOUND":              "project_id in push.apps must be the id of the Firebase project, not its name or number",
		"UNAUTHENTICATED":        account,
		"QUOTA_EXCEEDED":         quota,
		"RESOURCE_EXHAUSTED":     quota,
		"UNAVAILABLE":            again,
		"INTERNAL":               again,

		push.NoCredential: account,
		push.Malformed:    "give the registration token as FCM gave it to the app: visible ASCII characters, and nothing else",
		push.Deadline:     reach + ", and leave open connections alone",
		push.Unreachable:  reach,
	}
}
