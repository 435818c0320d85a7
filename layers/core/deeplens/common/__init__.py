"""What every feature shares: ids, the stage contract, outgoing records, back-off, the clock and the publisher."""
