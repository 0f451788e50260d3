// Package softphone is a scripted SIP user agent with audio: it registers, calls
// and is called, and measures what it hears. Simulators and tests use it as a PBX,
// a caller or an app.
//
// Its SDP is read and written by pion/sdp and its RTP by pion/rtp, so that it is a
// judge of what the bridge writes and not its echo.
//
// A Phone has one goroutine, on which its dialogs live, and two for the audio of
// each call. All methods of Phone and Call may be called from any goroutine but
// that one, which is where Config.Observe is called.
package softphone
