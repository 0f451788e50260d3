// Package iphone is a simulated iPhone with a VoIP app on it: PushKit, CallKit, the
// app's process that iOS starts, suspends and kills, and a user. The app is a
// correct one, or one of the Policies, which do one thing wrong each.
//
// A Device enforces the rules that iOS enforces. A VoIP push starts the app in the
// background, and the app must report a call before its delegate returns, or iOS
// kills it, and after some such pushes delivers no more; what the user does on the call screen reaches the app as an action that
// it fulfils or fails; what the user does inside the app reaches the call screen as
// a transaction. Each breach, by the app or by the server that makes it break a
// rule, is a Violation, and a test that finds one has failed.
//
// Everything happens on one goroutine, the device's main queue, as on a phone. The
// app's three flows are in the files app_incoming.go, app_answer.go and app_end.go;
// what joins them is its dictionary of calls by UUID. Calls that the user makes are
// in app_start.go, hold, mute and DTMF in app_talk.go.
//
// The names are Apple's where there is one: PKPushRegistry, CXProvider,
// CXCallController and CXAction are pushRegistry, callScreen, callController and
// action here.
package iphone
