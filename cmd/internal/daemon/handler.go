package daemon

import (
	"encoding/json"
	"strconv"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/store"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

// handler is sipua.Handler: it only tells apart who a request is for.
type handler struct{ d *Daemon }

func (h *handler) Invite(tx *sipua.ServerTx) { h.d.bridge.Invite(tx) }

func (h *handler) Request(tx *sipua.ServerTx) {
	switch tx.Request.Method {
	case sip.REGISTER:
		h.d.registrar.Request(tx)
	case sip.OPTIONS:
		h.options(tx)
	default: // a BYE or INFO outside any dialog
		tx.Reject(sipua.Reject(481, ""))
	}
}

// drainRetry is what a PBX hears that asks while the server drains, in seconds.
const drainRetry = 30

// options says that we are here, and what works (RFC 3261 s11.2).
func (h *handler) options(tx *sipua.ServerTx) {
	if h.d.isDraining() {
		tx.Reject(sipua.Reject(503, "Draining", sipua.HeaderLine{Name: "Retry-After", Value: strconv.Itoa(drainRetry)}))
		return
	}
	res := tx.NewResponse(200, "")
	res.AppendHeader(sip.NewHeader("Allow", h.d.endpoint.Allow()))
	res.AppendHeader(sip.NewHeader("Accept", sipua.Accepted))
	res.AppendHeader(sip.NewHeader("Supported", h.d.endpoint.Supported()))
	if err := tx.Respond(res); err != nil {
		h.d.log.Debug("answer OPTIONS", "error", err)
	}
}

func (h *handler) FlowGone(f *sipua.Flow, _ error) {
	h.d.gate.gone(f)
	h.d.registrar.FlowGone(f)
}

// fates lets the registrar, the only writer of the location, keep fates.
type fates struct{ d *Daemon }

// Put implements bridge.Fates.
func (f fates) Put(fate location.Fate) { f.d.registrar.Edit(location.PutFate{Fate: fate}) }

// Take implements bridge.Fates.
func (f fates) Take(d location.Ref, flow location.FlowID) []location.Fate {
	return f.d.memory.TakeFates(d, flow)
}

// records stores what became of calls.
type records struct{ d *Daemon }

// Begin implements bridge.Records. The call goes on whether or not it can be noted.
func (r records) Begin(rec bridge.Record) {
	row, err := rowOf(rec)
	if err == nil {
		err = r.d.store.SpoolRecord(row)
	}
	r.d.logErr("noting a call", err)
}

// Append implements bridge.Records. The record is written as soon as the disk
// allows: a call's end waits for no disk.
func (r records) Append(rec bridge.Record) error {
	row, err := rowOf(rec)
	if err == nil {
		err = r.d.store.SpoolRecord(row)
	}
	if r.d.opts.Recorded != nil {
		r.d.opts.Recorded(rec)
	}
	return err
}

func rowOf(rec bridge.Record) (store.RecordRow, error) {
	doc, err := json.Marshal(rec)
	if err != nil {
		return store.RecordRow{}, err
	}
	row := store.RecordRow{ID: rec.ID, Started: rec.Started, Answered: rec.Answered, Ended: rec.Ended, From: rec.From, To: rec.To,
		Trunk: rec.Trunk, User: rec.User, Status: rec.Status, Reason: rec.Reason, Doc: doc}
	for _, a := range rec.Attempts {
		row.Devices = append(row.Devices, store.RecordDevice{Device: a.Device, UUID: a.UUID, Outcome: a.Outcome})
	}
	return row, nil
}
