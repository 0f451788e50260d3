package apnssim_test

import (
	"fmt"
	"log"
	"net"

	"wakebridge/push/apnssim"
)

// What a test of a push sender sets up.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	sim, err := apnssim.New(apnssim.Config{Production: listener})
	if err != nil {
		log.Fatal(err)
	}
	defer sim.Close()
	if err := sim.AddTeam("ABCDE12345", "com.example.phone"); err != nil {
		log.Fatal(err)
	}
	p8, err := sim.GenerateKey("ABCDE12345", "KEY1234567") // for the sender's configuration
	if err != nil {
		log.Fatal(err)
	}
	phone := sim.NewDevice("iphone")
	token := phone.RegisterVoIP("com.example.phone")
	if _, err := sim.AddFault(apnssim.Rule{
		Match:  apnssim.Match{Token: token, Times: 1},
		Action: apnssim.Action{Fault: apnssim.Respond, Status: 503, Reason: "ServiceUnavailable"},
	}); err != nil {
		log.Fatal(err)
	}
	// Now give the sender sim.URL(apnssim.Production), sim.CAPEM() and p8, let it
	// push to token, and read from phone.Deliveries().
	fmt.Println(len(token), len(p8) > 0, phone.IsOnline())
	// Output: 64 true true
}
