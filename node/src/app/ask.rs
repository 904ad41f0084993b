//! What a running node answers when the control plane asks: one arm for each question, each a call into the part that knows.
//!
//! Called by `agent`, which bounds how many run at once and drops one nobody waits for, so every arm may end at any `.await`.
//! A drain is only begun here: whoever runs the node hears of it by [`Running::asked_to_end`] and ends it well.

use wire::api::{
    ask::{Answer, Question},
    problem::Problem,
};

use super::Running;

impl Running {
    /// Answers a question of the control plane.
    ///
    /// # Errors
    /// Why it cannot be answered, as the asker is to see it.
    pub async fn ask(&self, question: Question) -> Result<Answer, Problem> {
        match question {
            Question::Status => Ok(Answer::Status(Box::new(self.status()))),
            Question::Drain => {
                self.shared.asked_to_end.cancel();
                Ok(Answer::Draining)
            }
            Question::Explain(query) => Ok(Answer::Explain(Box::new(self.explain(&query).await))),
            Question::Doctor { .. }
            | Question::Pull(_)
            | Question::PullProgress { .. }
            | Question::Holds { .. }
            | Question::Repositories(_)
            | Question::Tags { .. }
            | Question::Manifests { .. }
            | Question::Manifest { .. }
            | Question::Delete { .. }
            | Question::PingWebhook { .. }
            | Question::Deliveries { .. }
            | Question::Recalled { .. } => Err(not_here_yet()),
        }
    }

    /// Ends when somebody who may asked this node to drain; whoever runs the node then calls [`Running::drain`].
    pub async fn asked_to_end(&self) {
        self.shared.asked_to_end.cancelled().await;
    }
}

fn not_here_yet() -> Problem {
    Problem::new(
        503,
        "not-here-yet",
        "this release of the node does not answer that question; upgrade the node",
    )
}
