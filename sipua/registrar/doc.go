// Package registrar takes REGISTER requests from apps (RFC 3261 s10, RFC 5626,
// RFC 8599): it proves who sends them, keeps bindings and push tokens in
// location.Memory, and answers.
//
// One loop is the only writer of Memory. It takes whatever REGISTERs are queued,
// applies them in one step and hands them to a second goroutine that makes them
// durable in one transaction and then answers. Calls that wait for a device hear
// of it as soon as the commit is done, or after 50 ms: they do not wait for a slow
// disk.
package registrar
