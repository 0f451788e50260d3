// Package push wakes devices by notifications: what a notification says
// (Notification, Payload), which of a device's tokens gets it (Choose), and
// bringing it out within a deadline with a bounded number in flight (Delivery,
// Dispatcher). It knows no push service's wire: a Sender does, one for each
// configured app; package push/apns makes those for Apple's service.
//
// Everything reported to callers is a plain value. A device token shows four
// of its characters in any text, log line or JSON document made here.
package push
