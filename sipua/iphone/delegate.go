package iphone

import "github.com/google/uuid"

// delegate is an app as iOS and the user see it. All methods are called on the main
// queue.
type delegate interface {
	applicationDelegate
	pushRegistryDelegate
	providerDelegate
	taps
	// isRegistered says that the app can be called.
	isRegistered() bool
	// busy says that the app asks for more background time.
	busy() bool
	// willSuspend: the process is about to be frozen, its connections close.
	willSuspend()
	// killed: the process is gone. The simulator's own, to free what it held.
	killed()
}

// applicationDelegate is UIApplicationDelegate.
type applicationDelegate interface {
	// didLaunch: the process runs. foreground: the user opened the app.
	didLaunch(foreground bool)
	// didBecomeActive: the user opened the app, which ran before.
	didBecomeActive()
	// didReceiveNotification: the user tapped on a notification.
	didReceiveNotification(payload []byte)
	// protectedDataDidBecomeAvailable: the device was unlocked for the first time
	// since it started, and what the app stored can be read.
	protectedDataDidBecomeAvailable()
	// reachabilityChanged: the network went or came.
	reachabilityChanged(online bool)
}

// pushMetadata is PKVoIPPushMetadata, which iOS 26.4 brought.
type pushMetadata struct {
	// mustReport: the app is killed if it has reported no call when its method
	// returns.
	mustReport bool
}

// pushRegistryDelegate is PKPushRegistryDelegate, and what UIApplication says of
// ordinary pushes.
type pushRegistryDelegate interface {
	// didUpdatePushToken: PushKit gave a token (voip), or the app got its ordinary
	// one.
	didUpdatePushToken(voip bool, token string)
	// didInvalidatePushToken: PushKit's token is good for nothing any more.
	didInvalidatePushToken()
	// didReceiveIncomingPush: a VoIP push. The app is killed if it has reported no
	// call when the method returns, unless it is in front of the user or in a call;
	// metadata says so from iOS 26.4 on and is nil before.
	didReceiveIncomingPush(p Push, metadata *pushMetadata)
}

// providerDelegate is CXProviderDelegate. What is performed is fulfilled or failed.
type providerDelegate interface {
	performStart(a *action)
	performAnswer(a *action)
	performEnd(a *action)
	performSetHeld(a *action)
	performSetMuted(a *action)
	performPlayDTMF(a *action)
	// timedOutPerforming: the action can no longer be fulfilled.
	timedOutPerforming(a *action)
	// didActivateAudio: audio of that call may start; didDeactivateAudio: it must
	// stop.
	didActivateAudio(id uuid.UUID)
	didDeactivateAudio(id uuid.UUID)
	// providerDidReset: CallKit forgot all calls, and so must the app.
	providerDidReset()
}

// taps is what the user does inside the app.
type taps interface {
	dialTapped(number string)
	hangUpTapped(id uuid.UUID)
}
