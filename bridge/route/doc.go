// Package route decides where a call goes: users' numbers and rules in, a plan and
// its explanation out. It is pure: no network, no clock, no state but the table,
// so that "wakebridge route test" tells exactly what a call would meet.
//
// The built-in rule comes first: a called number or name that belongs to a user
// goes to that user. Then the rules in order; the first that matches wins. A call
// that nothing matches is refused with 404 and a reason; nothing goes out to a
// trunk unless a rule says so.
package route
