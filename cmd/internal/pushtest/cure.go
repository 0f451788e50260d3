package pushtest

import "wakebridge/push"

// cures says what to do about each reason why a push was not accepted: those of
// Apple's table ("Handling notification responses from APNs") and our own. What
// happened is told by push.Result.Text.
func cures() map[push.Reason]string {
	const (
		report   = "this is a fault of Wakebridge: please report it with the server's log"
		again    = "try again in a minute; if it stays, look at Apple's system status page"
		newToken = "open the app once, so that it announces its new token; if it was removed, install it again"
		key      = "compare team_id and keys[].id in push.apps with the developer account (Keys), and see there that the key was not revoked"
		wrongEnv = "give push.apps a key or certificate for the environment of this device, or one for both"
		cert     = "see in the developer account whether the certificate was revoked or has expired, and put a new one into push.apps"
		retry    = "try again"
	)
	return map[push.Reason]string{
		"BadDeviceToken":         "set push.apps[].environment, and what the app announces, to where the app comes from (App Store and TestFlight: production, Xcode: sandbox), and see that bundle_id is that of the app; then open the app once",
		"DeviceTokenNotForTopic": "see that the app announces the PushKit token as VoIP token and the other as alert token, and that bundle_id is that of the app",
		"Unregistered":           newToken,
		"ExpiredToken":           newToken,
		"MissingDeviceToken":     report,

		"BadTopic":         "bundle_id in push.apps must be the app's bundle identifier, without .voip",
		"MissingTopic":     "give the app a bundle_id in push.apps",
		"TopicDisallowed":  "see that bundle_id belongs to the team of team_id, and that the key is not limited to other topics",
		"Forbidden":        key,
		"BadPath":          "push.apns.production and push.apns.sandbox must be addresses of APNs, without a path",
		"MethodNotAllowed": "push.apns.production and push.apns.sandbox must be addresses of APNs, without a path",
		"InvalidPushType":  report, "BadPriority": report, "BadExpirationDate": report, "BadCollapseId": report, "BadMessageId": report,
		"DuplicateHeaders": report, "PayloadEmpty": report, "PayloadTooLarge": report,

		"BadCertificate":            cert,
		"BadCertificateEnvironment": wrongEnv,
		"BadEnvironmentKeyInToken":  wrongEnv,
		"credential broken":         key + "; " + cert,
		"InvalidProviderToken":      key,
		"MissingProviderToken":      "give the app a key in push.apps[].keys",
		"ExpiredProviderToken":      "set this machine's clock (timedatectl); it must be right to a few minutes",

		"TooManyRequests":             "wait some minutes: too many pushes went to this device",
		"TooManyProviderTokenUpdates": "wait 20 minutes, and do not use one key in several servers",
		"IdleTimeout":                 retry, "Shutdown": retry, "InternalServerError": again, "ServiceUnavailable": again,

		push.UnknownApp:   "add the app to push.apps and restart",
		push.NoToken:      "let the app announce a token of this kind, or test the other kind (--voip makes the phone ring)",
		push.NoCredential: "give push.apps a key that serves this environment and this kind of push",
		push.Malformed:    "give the token as hexadecimal text, 2 to 200 characters, and nothing else",
		push.Unsendable:   report,
		push.Deadline:     "see whether a firewall lets TCP port 443 to api.push.apple.com and api.sandbox.push.apple.com pass and leaves open connections alone",
		push.Stopped:      retry,
		push.Unreachable:  "see whether DNS and firewall let this server reach api.push.apple.com and api.sandbox.push.apple.com on TCP port 443",
		push.Lost:         retry + "; if it stays, a firewall or proxy on the way cuts connections",
		push.Overloaded:   "wait until the pushes under way are done",
		push.Closed:       "the server is ending: start it again",
		push.Broken:       report,
	}
}

// cure is what to do about a push that a service did not accept.
func cure(service push.Service, r push.Result) string {
	if text, ok := curesFCM()[r.Reason]; ok && service == push.FCM {
		return text
	}
	if text, ok := cures()[r.Reason]; ok {
		return text
	}
	if service == push.FCM {
		return "look this reason up in Google's documentation (FCM HTTP v1 API, ErrorCode)"
	}
	return "look this reason up in Apple's documentation (Handling notification responses from APNs)"
}
