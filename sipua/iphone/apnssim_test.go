package iphone_test

import (
	"context"

	"wakebridge/push/apnssim"
	"wakebridge/sipua/iphone"
)

// simulated is the adapter by which a device of apnssim is a phone's push source.
type simulated struct{ *apnssim.Device }

var _ iphone.PushSource = simulated{}

// Next implements iphone.PushSource.
func (s simulated) Next(ctx context.Context) (iphone.Push, error) {
	select {
	case d := <-s.Deliveries():
		return iphone.Push{ID: d.APNsID, Token: d.Token, Type: d.PushType, Payload: d.Payload}, nil
	case <-ctx.Done():
		return iphone.Push{}, ctx.Err()
	}
}
