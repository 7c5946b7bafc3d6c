//! What a lane is told, in the order in which it was said.
//!
//! The owner says together what it has to say in one turn, since to wake a lane for each order would cost more than
//! short work does.

use std::vec;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::Order;

/// The lane's end. Orders come one by one, however they were sent.
pub struct Orders {
    turns: mpsc::Receiver<Vec<Order>>,
    /// What is left of the last turn that was taken.
    left: vec::IntoIter<Order>,
}

impl Orders {
    pub(crate) fn new(turns: mpsc::Receiver<Vec<Order>>) -> Self {
        Orders { turns, left: Vec::new().into_iter() }
    }

    /// Waits for the next order; none once the queue has given the lane up or stopped. A future that is dropped
    /// loses nothing.
    pub async fn recv(&mut self) -> Option<Order> {
        loop {
            if let Some(order) = self.left.next() {
                return Some(order);
            }
            self.left = self.turns.recv().await?.into_iter();
        }
    }

    /// Waits for orders, puts as many as are there and at most `most` behind those in `into`, and gives their
    /// number; 0 where [`recv`](Self::recv) gives none. A future that is dropped loses nothing.
    pub async fn recv_many(&mut self, into: &mut Vec<Order>, most: usize) -> usize {
        let Some(first) = self.recv().await else { return 0 };
        let before = into.len();
        into.push(first);
        while into.len() - before < most
            && let Ok(order) = self.try_recv()
        {
            into.push(order);
        }
        into.len() - before
    }

    /// The next order if there is one.
    ///
    /// # Errors
    /// There is none now, or never again.
    pub fn try_recv(&mut self) -> Result<Order, TryRecvError> {
        loop {
            if let Some(order) = self.left.next() {
                return Ok(order);
            }
            self.left = self.turns.try_recv()?.into_iter();
        }
    }

    /// As [`recv`](Self::recv), on a thread that may wait.
    pub(crate) fn blocking_recv(&mut self) -> Option<Order> {
        loop {
            if let Some(order) = self.left.next() {
                return Some(order);
            }
            self.left = self.turns.blocking_recv()?.into_iter();
        }
    }

    /// At least how many orders are there.
    pub(crate) fn len(&self) -> usize {
        self.left.len() + self.turns.len()
    }

    /// Takes no more; what was sent can still be received.
    pub(crate) fn close(&mut self) {
        self.turns.close();
    }
}

#[cfg(test)]
mod tests {
    use queue::{FlowId, Seq, Ticket};

    use super::*;

    fn cancel(number: u64) -> Order {
        Order::Cancel(Ticket { flow: FlowId(1), seq: Seq(number), part: 0, attempt: 1 })
    }

    fn number(order: Order) -> u64 {
        match order {
            Order::Cancel(ticket) => ticket.seq.get(),
            _ => u64::MAX,
        }
    }

    #[tokio::test]
    async fn orders_come_one_by_one_and_in_turn_however_they_were_sent() {
        let (sender, turns) = mpsc::channel(8);
        let mut orders = Orders::new(turns);
        for turn in
            [vec![cancel(0), cancel(1), cancel(2)], vec![], vec![cancel(3)], vec![cancel(4), cancel(5)]]
        {
            sender.send(turn).await.unwrap();
        }
        assert_eq!(orders.recv().await.map(number), Some(0));
        let mut several = vec![cancel(100)];
        assert_eq!(orders.recv_many(&mut several, 3).await, 3);
        assert_eq!(several.into_iter().map(number).collect::<Vec<_>>(), [100, 1, 2, 3]);
        assert_eq!(orders.try_recv().map(number), Ok(4));
        assert_eq!(orders.len(), 1);
        drop(sender);
        assert_eq!(orders.recv().await.map(number), Some(5));
        assert_eq!(orders.recv_many(&mut Vec::new(), 3).await, 0);
        assert_eq!(orders.try_recv().map(number), Err(TryRecvError::Disconnected));
    }
}
