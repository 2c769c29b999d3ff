"""Runs the whole product on one machine: servers, migrations, the four services and the gateway.

`up` brings a stack to the state that the checkout describes, `down` leaves no process behind. A stack is a name
(`dev`, `test`) with its own folder below `.dev/`, its own ports and its own secrets, so that stacks never meet.
"""
