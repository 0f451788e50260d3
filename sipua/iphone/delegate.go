package iphone

import "github.com/google/uuid"

// delegate is an app as iOS sees it: the delegate methods of UIApplication,
// PKPushRegistry and CXProvider. iOS calls them on the main queue.
type delegate interface {
	// didLaunch: the process runs. foreground: the user opened the app.
	didLaunch(foreground bool)
	// didBecomeActive: the user opened the app, which ran before.
	didBecomeActive()
	// didUpdatePushToken: PushKit gave a token (voip), or the app got its ordinary
	// one.
	didUpdatePushToken(voip bool, token string)
	// didReceiveIncomingPush: a VoIP push. Unless mustReport is false, the app is
	// killed if it has reported no call when the method returns.
	didReceiveIncomingPush(p Push, mustReport bool)
	// didReceiveNotification: the user tapped on a notification.
	didReceiveNotification(payload []byte)
	// performAnswer and performEnd are CXAnswerCallAction and CXEndCallAction.
	performAnswer(a *action)
	performEnd(a *action)
	// timedOutPerforming: the action can no longer be fulfilled.
	timedOutPerforming(a *action)
	// didActivateAudio: audio of that call may start.
	didActivateAudio(id uuid.UUID)
	// hangUpTapped: the user hung up inside the app.
	hangUpTapped(id uuid.UUID)
	// reachabilityChanged: the network went or came.
	reachabilityChanged(online bool)
	// busy says that the app asks for more background time.
	busy() bool
	// willSuspend: the process is about to be frozen, its connections close.
	willSuspend()
	// killed: the process is gone. The simulator's own, to free what it held.
	killed()
}
